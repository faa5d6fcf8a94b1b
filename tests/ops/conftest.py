"""Blocks of a few pairs, and memory that is poisoned until it is written."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from howfar.ops import streaming


@pytest.fixture
def tiny_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call of more than ten pairs goes through blocks of a row or two."""
    monkeypatch.setattr(streaming, "BLOCK_ELEMENTS", 20)


@pytest.fixture(params=["at once", "in blocks"])
def either_way(request: pytest.FixtureRequest) -> str:
    """The whole reduction at once, and row by row."""
    if request.param == "in blocks":
        request.getfixturevalue("tiny_blocks")
    return str(request.param)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Memory that is asked for without being filled holds NaN, or absurd integers; the calls are listed."""
    calls: list[str] = []

    def poison(name: str, original: Any) -> Any:
        def allocate(*args: Any, **kwargs: Any) -> torch.Tensor:
            calls.append(name)
            tensor: torch.Tensor = original(*args, **kwargs)
            return tensor.fill_(torch.nan if tensor.is_floating_point() else -(2**62))

        return allocate

    for owner, name in (
        (torch, "empty"),
        (torch, "empty_like"),
        (torch, "empty_strided"),
        (torch.Tensor, "new_empty"),
    ):
        monkeypatch.setattr(owner, name, poison(name, getattr(owner, name)))
    return calls
