"""Where the kernels run: on the GPU, or in Triton's interpreter on a machine without one."""

from __future__ import annotations

import pytest
import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def device() -> torch.device:
    """The device of the tensors that the kernels are called with."""
    return DEVICE


@pytest.fixture(params=["one part", "many parts"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The columns taken by one program for each block of rows, and split between several, whose results are joined."""
    from howfar.ops import triton_tiles

    count = 1 if request.param == "one part" else 10**6
    monkeypatch.setattr(triton_tiles, "processors", lambda _: count)
    monkeypatch.setattr(triton_tiles, "FEWEST_TILES_OF_A_PART", 1)
    return str(request.param)
