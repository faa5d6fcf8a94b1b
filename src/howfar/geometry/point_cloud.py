"""Two point clouds and a ground cost; no matrix is stored."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from howfar import ops
from howfar.costs import Cost, SqEuclidean
from howfar.geometry.protocol import Side
from howfar.geometry.spatial_order import Order, spatial_order
from howfar.ops import alternation, compiled, soft_minimum, sweep

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
        orders: how the points of either side are arranged for soft minima; what is returned keeps the order of x and y.
    """

    x: Tensor
    y: Tensor
    cost: Cost = _SQUARED
    backend: str = "auto"
    orders: tuple[Order, Order] | None = field(default=None, repr=False)

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
        same = x.shape == self.x.shape and y.shape == self.y.shape
        return replace(self, x=x, y=y, orders=self.orders if same else None)

    def arranged(self) -> PointCloud:
        """The same, with soft minima over points in spatial order: quicker at temperatures far below the cost."""
        if self.orders is not None:
            return self
        x_order = spatial_order(self.x)
        return replace(self, orders=(x_order, x_order if self.y is self.x else spatial_order(self.y)))

    def _sides(self, side: Side) -> tuple[Tensor, Tensor, Cost]:
        if side == "x":
            return self.x, self.y, self.cost
        return self.y, self.x, self.cost.swapped()

    def _arranged(self, side: Side) -> tuple[Tensor, Tensor, Cost, Order | None, Order | None]:
        rows, columns, cost = self._sides(side)
        if self.orders is None:
            return rows, columns, cost, None, None
        own, other = self.orders if side == "x" else self.orders[::-1]
        # A graph is used up by its first derivative, so what belongs to one is made anew.
        in_graph = torch.is_grad_enabled() and (self.x.requires_grad or self.y.requires_grad)
        x, y = self._in_order() if in_graph else self._kept_in_order
        return *((x, y) if side == "x" else (y, x)), cost, own, other

    @cached_property
    def _kept_in_order(self) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return self._in_order()

    def _in_order(self) -> tuple[Tensor, Tensor]:
        assert self.orders is not None
        return self.orders[0].points(self.x), self.orders[1].points(self.y)

    def _alike(self, h: Tensor, eps: Tensor) -> bool:
        """Whether these have the batch axes and the dtype of the clouds, as those of a solver do: nothing to check."""
        same = h.shape[:-1] == eps.shape == self.batch == self.y.shape[:-2]
        return same and h.dtype == self.x.dtype == eps.dtype and not eps.requires_grad

    def softmin(self, h: Tensor, eps: Tensor, side: Side) -> Tensor:
        """-eps log sum exp((h - C) / eps) over the other side."""
        rows, columns, cost, own, other = self._arranged(side)
        softmin = soft_minimum.softmin_of if self._alike(h, eps) else ops.softmin
        out = softmin(rows, columns, other.numbers(h) if other else h, eps=eps, cost=cost, backend=self.backend)
        return own.undone(out) if own else out

    def alternate(self, task: alternation.Weighing) -> alternation.Alternated | None:
        """Sinkhorn's alternation in one call; None where the clouds are too large for it."""
        return alternation.between_points(self.x, self.y, self.cost, self.backend, task)

    def sweep(self, turn: sweep.Turn) -> tuple[Tensor, Tensor] | None:
        """An update of f and the soft minimum over it in one pass; None where they are two."""
        x, y, cost, own, other = self._arranged("x")
        if own is None or other is None:
            return sweep.between_points(x, y, cost, self.backend, turn, in_order=False, radius=lambda: self._radius)
        f, a, g, b = own.numbers(turn.f), own.numbers(turn.a), other.numbers(turn.g), other.numbers(turn.b)
        turn = replace(turn, f=f, a=a, g=g, b=b)
        swept = sweep.between_points(x, y, cost, self.backend, turn, in_order=True, radius=lambda: self._radius)
        return None if swept is None else (own.undone(swept[0]), other.undone(swept[1]))

    @cached_property
    def _radius(self) -> float:
        return compiled.squared_radius(self.x, self.y)

    def softmin_apply(self, h: Tensor, v: Tensor, eps: Tensor, side: Side) -> tuple[Tensor, Tensor]:
        """That, and the averages of v under the same weights."""
        rows, columns, cost, own, other = self._arranged(side)
        if own is None or other is None:
            return ops.softmin_apply(rows, columns, h, v, eps=eps, cost=cost, backend=self.backend)
        h, v = other.numbers(h), other.points(v)
        out, averages = ops.softmin_apply(rows, columns, h, v, eps=eps, cost=cost, backend=self.backend)
        return own.undone(out), own.rows_undone(averages)

    def softmin_cost(self, h: Tensor, eps: Tensor, side: Side) -> Tensor:
        """The average of the cost under the same weights."""
        rows, columns, cost, own, other = self._arranged(side)
        h = other.numbers(h) if other else h
        out = soft_minimum.softmin_cost(rows, columns, h, eps=eps, cost=cost, backend=self.backend)
        return own.undone(out) if own else out

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
        """(...) the largest cost among at most 256 points of each side, evenly taken; fewer of each in a batch."""
        n, m = self.shape
        most = max(_SAMPLE // 32, _SAMPLE // max(1, self.batch.numel()))
        with torch.no_grad():
            sample = self.cost.matrix(self.x[..., :: -(-n // most), :], self.y[..., :: -(-m // most), :])
            return sample.abs().amax((-2, -1))

    def at(self, i: Tensor, j: Tensor) -> Tensor:
        """(K,) the costs of K pairs."""
        if not self.cost.batched:
            return self.matrix()[i, j]
        return self.cost.matrix(self.x[i].unsqueeze(-2), self.y[j].unsqueeze(-2)).flatten()
