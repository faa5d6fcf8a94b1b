"""Two point clouds and a ground cost; no matrix is stored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from howfar import ops
from howfar.costs import Cost, SqEuclidean
from howfar.geometry.protocol import Side
from howfar.ops import soft_minimum

_SAMPLE = 256
_SQUARED = SqEuclidean()


@dataclass(frozen=True)
class PointCloud:
    """C[i, j] = c(x_i, y_j).

    Attributes:
        x: (..., n, d).
        y: (..., m, d), same batch axes.
        cost: the ground cost.
        backend: passed to every op.
    """

    x: Tensor
    y: Tensor
    cost: Cost = _SQUARED
    backend: str = "auto"

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return self.x.shape[-2], self.y.shape[-2]

    @property
    def batch(self) -> torch.Size:
        """The batch axes."""
        return self.x.shape[:-2]

    @property
    def degree(self) -> float | None:
        """That of the cost."""
        return self.cost.degree

    def tensors(self) -> tuple[Tensor, ...]:
        """The two clouds."""
        return self.x, self.y

    def rebuilt(self, *tensors: Tensor) -> PointCloud:
        """The same cost between other clouds."""
        x, y = tensors
        return PointCloud(x, y, self.cost, self.backend)

    def _sides(self, side: Side) -> tuple[Tensor, Tensor, Cost]:
        if side == "x":
            return self.x, self.y, self.cost
        return self.y, self.x, self.cost.swapped()

    def _alike(self, h: Tensor, eps: Tensor) -> bool:
        """Whether these have the batch axes and the dtype of the clouds, as those of a solver do: nothing to check."""
        same = h.shape[:-1] == eps.shape == self.batch == self.y.shape[:-2]
        return same and h.dtype == self.x.dtype == eps.dtype and not eps.requires_grad

    def softmin(self, h: Tensor, eps: Tensor, side: Side) -> Tensor:
        """-eps log sum exp((h - C) / eps) over the other side."""
        rows, columns, cost = self._sides(side)
        if not self._alike(h, eps):
            return ops.softmin(rows, columns, h, eps=eps, cost=cost, backend=self.backend)
        return soft_minimum.softmin_of(rows, columns, h, eps, cost, self.backend)

    def softmin_apply(self, h: Tensor, v: Tensor, eps: Tensor, side: Side) -> tuple[Tensor, Tensor]:
        """That, and the averages of v under the same weights."""
        rows, columns, cost = self._sides(side)
        return ops.softmin_apply(rows, columns, h, v, eps=eps, cost=cost, backend=self.backend)

    def softmin_cost(self, h: Tensor, eps: Tensor, side: Side) -> Tensor:
        """The average of the cost under the same weights."""
        rows, columns, cost = self._sides(side)
        return soft_minimum.softmin_cost(rows, columns, h, eps=eps, cost=cost, backend=self.backend)

    def apply(self, w: Tensor, side: Side) -> Tensor:
        """C w, one number for each point of the side."""
        rows, columns, cost = self._sides(side)
        return ops.kernel_sum(rows, columns, w, kernel=cost, backend=self.backend)

    def nearest(self, h: Tensor, k: int, side: Side) -> tuple[Tensor, Tensor]:
        """The k smallest C - h over the other side, and their indices."""
        rows, columns, cost = self._sides(side)
        return ops.nearest(rows, columns, h, k=k, cost=cost, backend=self.backend)

    def matrix(self) -> Tensor:
        """C (..., n, m)."""
        return self.cost.matrix(self.x, self.y)

    def scale(self) -> Tensor:
        """(...) the largest cost among at most 256 points of each side, evenly taken."""
        n, m = self.shape
        with torch.no_grad():
            sample = self.cost.matrix(self.x[..., :: -(-n // _SAMPLE), :], self.y[..., :: -(-m // _SAMPLE), :])
            return sample.abs().amax((-2, -1))

    def at(self, i: Tensor, j: Tensor) -> Tensor:
        """(K,) the costs of K pairs."""
        if not self.cost.batched:
            return self.matrix()[i, j]
        return self.cost.matrix(self.x[i].unsqueeze(-2), self.y[j].unsqueeze(-2)).flatten()
