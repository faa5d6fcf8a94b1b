"""A cost matrix that is already there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from howfar._autograd import with_gradient
from howfar.geometry.protocol import Side
from howfar.ops import alternation, matrix
from howfar.ops.precision import without_autocast

Graph = Callable[..., Tensor]


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

    def softmin(self, h: Tensor, eps: Tensor, side: Side) -> Tensor:
        """-eps log sum exp((h - C) / eps) over the other side."""
        over_rows = side == "y"
        graph: Graph = lambda C, h: _softmin(C.mT if over_rows else C, h, eps)
        if matrix.why_unavailable(self.C, eps, h) is not None:
            return graph(self.C, h)
        return with_gradient(
            lambda C, h: matrix.softmin(C, over_rows, h, eps)[0],
            lambda wanted, grad, out, C, h: matrix.gradient(
                C, over_rows, h, None, eps, out.unsqueeze(-1), grad.unsqueeze(-1), [*wanted, False]
            )[:2],
            graph, self.C, h,
        )  # fmt: skip

    def alternate(self, task: alternation.Weighing) -> alternation.Alternated | None:
        """Sinkhorn's alternation in one call; None where the matrix is too large for it."""
        return alternation.on_matrix(self.C, task)

    def softmin_apply(self, h: Tensor, v: Tensor, eps: Tensor, side: Side) -> tuple[Tensor, Tensor]:
        """That, and the averages of v under the same weights."""
        over_rows = side == "y"
        graph: Graph = lambda C, h, v: _softmin_apply(C.mT if over_rows else C, h, v, eps)
        if matrix.why_unavailable(self.C, eps, h, v) is not None:
            out = graph(self.C, h, v)
        else:
            both: Graph = lambda value, averages: torch.cat([value.unsqueeze(-1), averages], -1)
            out = with_gradient(
                lambda C, h, v: both(*matrix.softmin(C, over_rows, h, eps, v)),
                lambda wanted, grad, out, C, h, v: matrix.gradient(C, over_rows, h, v, eps, out, grad, wanted),
                graph, self.C, h, v,
            )  # fmt: skip
        return out[..., 0], out[..., 1:]

    def softmin_cost(self, h: Tensor, eps: Tensor, side: Side) -> Tensor:
        """The average of the cost under the same weights."""
        over_rows = side == "y"
        graph: Graph = lambda C, h: _softmin_cost(C.mT if over_rows else C, h, eps)
        if matrix.why_unavailable(self.C, eps, h) is not None:
            return graph(self.C, h)

        def gradient(wanted: list[bool], grad: Tensor, _: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor | None, ...]:
            value, average = matrix.softmin(C, over_rows, h, eps, cost=True)
            out = torch.cat([value.unsqueeze(-1), average], -1)
            return matrix.gradient_of_cost(C, over_rows, h, eps, out, grad, wanted)

        value: Graph = lambda C, h: matrix.softmin(C, over_rows, h, eps, cost=True)[1].squeeze(-1)
        return with_gradient(value, gradient, graph, self.C, h)

    def apply(self, w: Tensor, side: Side) -> Tensor:
        """C w, one number for each point of the side."""
        with without_autocast(w.device):
            return (self._rows(side) @ w.unsqueeze(-1)).squeeze(-1)

    def nearest(self, h: Tensor, k: int, side: Side) -> tuple[Tensor, Tensor]:
        """The k smallest C - h over the other side, and their indices; ties by the smaller index."""
        if not _differentiated(self.C, h) and matrix.why_unavailable(self.C, None, h, k=k) is None:
            return matrix.nearest(self.C, side == "y", h, k)
        scores = self._rows(side) - h.unsqueeze(-2)
        values, indices = torch.topk(scores, k, dim=-1, largest=False)
        within = scores <= values[..., -1:]
        if bool((within.sum(-1) > k).any()):
            # Of those that tie for the last place the smaller indices have it.
            tied = scores == values[..., -1:]
            within &= ~tied | (tied.cumsum(-1) <= k - (within & ~tied).sum(-1, keepdim=True))
            indices = within.nonzero()[..., -1].reshape(indices.shape)
        else:
            indices = torch.sort(indices, dim=-1).values
        values, order = torch.sort(scores.gather(-1, indices), dim=-1, stable=True)
        return values, indices.gather(-1, order)

    def matrix(self) -> Tensor:
        """C itself."""
        return self.C

    def scale(self) -> Tensor:
        """(...) the largest absolute cost."""
        return self.C.detach().abs().amax((-2, -1))

    def at(self, i: Tensor, j: Tensor) -> Tensor:
        """(K,) the costs of K pairs."""
        return self.C[i, j]


def _softmin(rows: Tensor, h: Tensor, eps: Tensor) -> Tensor:
    gains = h.unsqueeze(-2) - rows
    # An exponential that underflows takes ten times as long, and adds nothing to a sum that is at least 1. One of
    # minus infinity has no derivative in the temperature.
    range_of = 0.9 * math.log(torch.finfo(gains.dtype).tiny)
    least = gains.detach().amax(-1, keepdim=True) + range_of * eps.detach()[..., None, None]
    return -eps.unsqueeze(-1) * torch.logsumexp(torch.maximum(gains, least) / eps[..., None, None], -1)


def _softmin_apply(rows: Tensor, h: Tensor, v: Tensor, eps: Tensor) -> Tensor:
    scores = (h.unsqueeze(-2) - rows) / eps[..., None, None]
    with without_autocast(v.device):
        total = torch.logsumexp(scores, -1, keepdim=True)
        return torch.cat([-eps[..., None, None] * total, torch.softmax(scores, -1) @ v], -1)


def _softmin_cost(rows: Tensor, h: Tensor, eps: Tensor) -> Tensor:
    return (torch.softmax((h.unsqueeze(-2) - rows) / eps[..., None, None], -1) * rows).sum(-1)


def _differentiated(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
