"""When two values of a statistic are one value summed in two orders."""

from __future__ import annotations

import torch
from torch import Tensor

_RELATIVE = 1e-6
"""Far above the rounding of sums in float64, the root of which is the distance of two coincident points; far below the
share of the largest value by which labellings that do differ are apart."""
_UNITS = 1000
"""The same in units of rounding, for a statistic that is itself computed in float32 or less."""


def slack(values: Tensor) -> Tensor:
    """(..., 1): how far apart entries of `values` (..., B), one statistic under B labellings, may lie and yet tie."""
    relative = max(_RELATIVE, _UNITS * torch.finfo(values.dtype).eps)
    return relative * values.abs().amax(-1, keepdim=True)
