"""What every test of the house gets."""

from __future__ import annotations

import os

import pytest
import torch

if not torch.cuda.is_available():
    # Read when triton is first imported, which torch's compiler does too: no later place is early enough.
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _default_dtype():
    yield
    assert torch.get_default_dtype() is torch.float32, "a test left another default dtype behind"
