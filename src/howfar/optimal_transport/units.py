"""Points in a unit of their own size, so that no power of a distance overflows or vanishes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from howfar.measure import Measure

_PLAIN_ORDER = 2.0
"""Up to this order float32 holds the powers of distances in that unit."""


def in_their_unit(x: Measure, y: Measure, p: float) -> tuple[Measure, Measure, Tensor]:
    """Both measures divided by their extent, a power of two, which rounds nothing, and that extent (...).

    For orders above 2 they are in float64 where the device has it.
    """
    if p > _PLAIN_ORDER and x.points.device.type != "mps":
        x, y = x.to(torch.float64), y.to(torch.float64)
    unit = _extent(x.points.detach(), y.points.detach())
    x, y = (replace(m, points=m.points / unit[..., None, None]) for m in (x, y))
    return x, y, unit


def _extent(x: Tensor, y: Tensor) -> Tensor:
    most = torch.maximum(x.amax(-2), y.amax(-2))
    least = torch.minimum(x.amin(-2), y.amin(-2))
    # Halves, as the difference of the two largest numbers would overflow.
    extent = (0.5 * most - 0.5 * least).amax(-1)
    return torch.where(extent > 0, torch.exp2(torch.floor(torch.log2(extent))), 1)
