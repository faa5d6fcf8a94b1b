"""The precision that a reduction works in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def working(*tensors: Tensor) -> tuple[tuple[Tensor, ...], torch.dtype]:
    """The tensors in at least float32, and the dtype that the result goes back to."""
    dtype = tensors[0].dtype
    if dtype in (torch.float32, torch.float64):
        return tensors, dtype
    return tuple(t.to(torch.float32) for t in tensors), dtype


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The tensor in that dtype. `Tensor.to` takes as long as another operation to see that there is nothing to do."""
    return tensor if tensor.dtype is dtype else tensor.to(dtype)


_AS_IT_IS = nullcontext()


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A region whose products keep the dtype of their factors."""
    kind = device.type
    active = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if active else _AS_IT_IS
