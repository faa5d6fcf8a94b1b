"""The data of the reductions: uniform points of the unit cube, one potential, one temperature; and rows to check."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_ROWS_CHECKED = 200


@dataclass(frozen=True)
class Clouds:
    """Two clouds of n points in d dimensions, in float32.

    Attributes:
        x: (n, d), uniform on the unit cube.
        y: (n, d), the same.
        h: (n,), the potential of uniform weights and a random dual.
        eps: a share of the mean cost, which is d / 6.
        checked: the rows whose answers are held against float64.
    """

    x: Tensor
    y: Tensor
    h: Tensor
    eps: float
    checked: Tensor

    @property
    def sizes(self) -> str:
        """For a title."""
        return f"n = m = {len(self.x)}, d = {self.x.shape[1]}, float32"

    def wide(self) -> tuple[Tensor, Tensor, Tensor]:
        """The rows to check, y and h in float64."""
        return self.x[self.checked].double(), self.y.double(), self.h.double()

    def error(self, value: Tensor, truth: Tensor) -> float:
        """Of the checked rows, relative to the largest true number."""
        return float((value[self.checked].double() - truth).abs().max() / truth.abs().max())


def clouds(n: int, d: int, share: float = 0.05) -> Clouds:
    """The same for every run; eps is that share of the mean cost."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(n, d, generator=generator) for _ in range(2))
    eps = share * d / 6
    h = eps * (0.5 * torch.randn(n, generator=generator) - math.log(n))
    return Clouds(x, y, h, eps, torch.randperm(n, generator=generator)[:_ROWS_CHECKED])
