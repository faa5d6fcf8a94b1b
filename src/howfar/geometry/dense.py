"""A cost matrix that is already there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from howfar.geometry.protocol import Side
from howfar.ops import alternation
from howfar.ops.precision import without_autocast


@dataclass(frozen=True)
class DenseCost:
    """C given as a matrix (..., n, m)."""

    C: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return self.C.shape[-2], self.C.shape[-1]

    @property
    def batch(self) -> torch.Size:
        """The batch axes."""
        return self.C.shape[:-2]

    @property
    def degree(self) -> None:
        """None: a matrix does not know how its points scale."""
        return

    def tensors(self) -> tuple[Tensor, ...]:
        """The matrix."""
        return (self.C,)

    def rebuilt(self, *tensors: Tensor) -> DenseCost:
        """Another matrix."""
        (matrix,) = tensors
        return DenseCost(matrix)

    def _rows(self, side: Side) -> Tensor:
        return self.C if side == "x" else self.C.mT

    def _scores(self, h: Tensor, eps: Tensor, side: Side) -> Tensor:
        return (h.unsqueeze(-2) - self._rows(side)) / eps[..., None, None]

    def softmin(self, h: Tensor, eps: Tensor, side: Side) -> Tensor:
        """-eps log sum exp((h - C) / eps) over the other side."""
        return -eps.unsqueeze(-1) * torch.logsumexp(self._scores(h, eps, side), -1)

    def alternate(self, task: alternation.Weighing) -> alternation.Alternated | None:
        """Sinkhorn's alternation in one call; None where the matrix is too large for it."""
        return alternation.on_matrix(self.C, task)

    def softmin_apply(self, h: Tensor, v: Tensor, eps: Tensor, side: Side) -> tuple[Tensor, Tensor]:
        """That, and the averages of v under the same weights."""
        scores = self._scores(h, eps, side)
        with without_autocast(v.device):
            return -eps.unsqueeze(-1) * torch.logsumexp(scores, -1), torch.softmax(scores, -1) @ v

    def softmin_cost(self, h: Tensor, eps: Tensor, side: Side) -> Tensor:
        """The average of the cost under the same weights."""
        return (torch.softmax(self._scores(h, eps, side), -1) * self._rows(side)).sum(-1)

    def apply(self, w: Tensor, side: Side) -> Tensor:
        """C w, one number for each point of the side."""
        with without_autocast(w.device):
            return (self._rows(side) @ w.unsqueeze(-1)).squeeze(-1)

    def nearest(self, h: Tensor, k: int, side: Side) -> tuple[Tensor, Tensor]:
        """The k smallest C - h over the other side, and their indices; ties by the smaller index."""
        values, indices = torch.sort(self._rows(side) - h.unsqueeze(-2), dim=-1, stable=True)
        return values[..., :k], indices[..., :k]

    def matrix(self) -> Tensor:
        """C itself."""
        return self.C

    def scale(self) -> Tensor:
        """(...) the largest absolute cost."""
        return self.C.detach().abs().amax((-2, -1))

    def at(self, i: Tensor, j: Tensor) -> Tensor:
        """(K,) the costs of K pairs."""
        return self.C[i, j]
