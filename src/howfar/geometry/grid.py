"""Two regular grids and a cost that is a sum over their axes; one axis is reduced after the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from howfar import ops
from howfar.costs import CityBlock, Cost, SqEuclidean
from howfar.geometry.protocol import Side
from howfar.ops.soft_minimum import softmin_cost

SEPARABLE = (SqEuclidean, CityBlock)
"""The costs that are a sum over features, so that exp(-C / eps) is a product over axes."""
_SQUARED = SqEuclidean()


@dataclass(frozen=True)
class Grid:
    """C[i, j] = sum_k c(x_k[i_k], y_k[j_k]) over the axes k, for all points i, j of two grids, last axis quickest.

    A reduction over n points costs O(n^(1 + 1/D)) on D axes of like length instead of O(n^2), in linear memory.

    Attributes:
        x: for each axis the coordinates (..., n_k, 1), in units of the data.
        y: for each axis the coordinates (..., m_k, 1), same batch axes.
        cost: |x - y|^2 or the city-block distance.
        backend: passed to every op.
    """

    x: tuple[Tensor, ...]
    y: tuple[Tensor, ...]
    cost: Cost = _SQUARED
    backend: str = "auto"

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""
        return torch.Size(_lengths(self.x)).numel(), torch.Size(_lengths(self.y)).numel()

    @property
    def batch(self) -> torch.Size:
        """The batch axes."""
        return self.x[0].shape[:-2]

    @property
    def degree(self) -> float | None:
        """That of the cost."""
        return self.cost.degree

    def tensors(self) -> tuple[Tensor, ...]:
        """The coordinates along every axis."""
        return (*self.x, *self.y)

    def rebuilt(self, *tensors: Tensor) -> Grid:
        """The same cost between other grids."""
        axes = len(self.x)
        return Grid(tensors[:axes], tensors[axes:], self.cost, self.backend)

    def points(self, side: Side) -> Tensor:
        """(..., n, D) the points of one grid, built now."""
        axes = self.x if side == "x" else self.y
        spread = [_along(axis.squeeze(-1), k, len(axes)) for k, axis in enumerate(axes)]
        return torch.stack(torch.broadcast_tensors(*spread), -1).flatten(-1 - len(axes), -2)

    def softmin(self, h: Tensor, eps: Tensor, side: Side) -> Tensor:
        """-eps log sum exp((h - C) / eps) over the other side."""
        for k in self._order():
            line = self._line(h, eps, k, side)
            h = line.put(
                -ops.softmin(line.rows, line.columns, line.h, eps=line.eps, cost=self.cost, backend=self.backend)
            )
        return -h

    def softmin_apply(self, h: Tensor, v: Tensor, eps: Tensor, side: Side) -> tuple[Tensor, Tensor]:
        """That, and the averages of v under the same weights: an average along an axis of averages along the next."""
        for k in self._order():
            line = self._line(h, eps, k, side)
            soft, means = ops.softmin_apply(
                line.rows, line.columns, line.h, line.values(v), eps=line.eps, cost=self.cost, backend=self.backend
            )
            h, v = line.put(-soft), line.put_values(means)
        return -h, v

    def softmin_cost(self, h: Tensor, eps: Tensor, side: Side) -> Tensor:
        """The average of the cost under the same weights: of each axis, carried along the next."""
        paid = torch.zeros_like(h)
        for k in self._order():
            line = self._line(h, eps, k, side)
            arguments = (line.rows, line.columns, line.h)
            own = softmin_cost(*arguments, eps=line.eps, cost=self.cost, backend=self.backend)
            soft, before = ops.softmin_apply(
                *arguments, line.values(paid.unsqueeze(-1)), eps=line.eps, cost=self.cost, backend=self.backend
            )
            h, paid = line.put(-soft), line.put(own + before.squeeze(-1), alive_only=False)
        return paid

    def apply(self, w: Tensor, side: Side) -> Tensor:
        """C w: the cost of each axis on what w sums to along the others."""
        rows, columns = self._sides(side)
        axes = len(rows)
        image = w.unflatten(-1, _lengths(columns))
        total = None
        for k in range(axes):
            others = [j - axes for j in range(axes) if j != k]
            marginal = image.sum(others) if others else image
            part = ops.kernel_sum(rows[k], columns[k], marginal, kernel=self.cost, backend=self.backend)
            part = _along(part, k, axes)
            total = part if total is None else total + part
        assert total is not None
        return total.expand(*self.batch, *_lengths(rows)).flatten(-axes)

    def nearest(self, h: Tensor, k: int, side: Side) -> tuple[Tensor, Tensor]:
        """The k smallest C - h over the other side, and their indices; ties by the smaller index."""
        rows, columns = self._sides(side)
        values, indices = -h.unsqueeze(-1), torch.arange(h.shape[-1], device=h.device).expand(h.shape).unsqueeze(-1)
        sizes = list(_lengths(columns))
        for axis in self._order():
            # Each line holds, for each of its points, the best of the axes already reduced.
            lines, places = (_lines(t, axis, sizes) for t in (values, indices))
            kept = lines.shape[-1]
            found, where = self._nearest_of_lines(rows[axis], columns[axis], lines, min(k, kept * sizes[axis]))
            places = places.flatten(-2).unsqueeze(-2).expand(*where.shape[:-1], -1).gather(-1, where)
            sizes[axis] = rows[axis].shape[-2]
            values, indices = (_unlined(t, axis, sizes) for t in (found, places))
        return values, indices

    def _nearest_of_lines(self, rows: Tensor, columns: Tensor, lines: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """(..., lines, n_k, k) twice: the smallest c + value over the candidates (..., lines, m_k, kept) of a line."""
        candidates = _beside(columns, len(self.x)).repeat_interleave(lines.shape[-1], -2)
        h = -lines.flatten(-2)
        alive = (h > -torch.inf).any(-1, keepdim=True)
        found, where = ops.nearest(
            _beside(rows, len(self.x)), candidates, torch.where(alive, h, 0), k=k, cost=self.cost, backend=self.backend
        )
        return torch.where(alive.unsqueeze(-1), found, torch.inf), where

    def matrix(self) -> Tensor:
        """C (..., n, m)."""
        return self.cost.matrix(self.points("x"), self.points("y"))

    def scale(self) -> Tensor:
        """(...) the largest cost."""
        with torch.no_grad():
            parts = []
            for x, y in zip(self.x, self.y, strict=True):
                ends = [torch.cat([t.amin(-2, keepdim=True), t.amax(-2, keepdim=True)], -2) for t in (x, y)]
                parts.append(self.cost.matrix(*ends).amax((-2, -1)))
            return torch.stack(parts).sum(0)

    def at(self, i: Tensor, j: Tensor) -> Tensor:
        """(K,) the costs of K pairs."""
        places = zip(torch.unravel_index(i, _lengths(self.x)), torch.unravel_index(j, _lengths(self.y)), strict=True)
        left, right = [], []
        for (at_x, at_y), x, y in zip(places, self.x, self.y, strict=True):
            left.append(x[at_x])
            right.append(y[at_y])
        return self.cost.matrix(torch.cat(left, -1).unsqueeze(-2), torch.cat(right, -1).unsqueeze(-2)).flatten()

    def _order(self) -> range:
        """From the last axis to the first, so that ties go to the smaller index."""
        return range(len(self.x) - 1, -1, -1)

    def _sides(self, side: Side) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        return (self.x, self.y) if side == "x" else (self.y, self.x)

    def _line(self, h: Tensor, eps: Tensor, axis: int, side: Side) -> _Lines:
        rows, columns = self._sides(side)
        # Axes behind this one are reduced already, and have the lengths of the other grid.
        sizes = (*_lengths(columns)[: axis + 1], *_lengths(rows)[axis + 1 :])
        return _Lines.of(h, eps, rows[axis], columns[axis], axis, sizes)


@dataclass(frozen=True)
class _Lines:
    """The lines of an image along one axis, as a batch of clouds on the line.

    A line without mass has no soft minimum; it is computed with h = 0, and put back as -inf.
    """

    rows: Tensor
    columns: Tensor
    h: Tensor
    eps: Tensor
    alive: Tensor
    axis: int
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, image: Tensor, eps: Tensor, rows: Tensor, columns: Tensor, axis: int, sizes: tuple[int, ...]) -> _Lines:
        h = image.unflatten(-1, sizes).movedim(axis - len(sizes), -1)
        alive = (h > -torch.inf).any(-1, keepdim=True)
        others = (1,) * (len(sizes) - 1)
        return cls(
            _beside(rows, len(sizes), flat=False),
            _beside(columns, len(sizes), flat=False),
            torch.where(alive, h, 0),
            eps.reshape((*eps.shape, *others)).expand(h.shape[:-1]),
            alive,
            axis,
            sizes,
        )

    def values(self, v: Tensor) -> Tensor:
        moved: Tensor = v.unflatten(-2, self.sizes).movedim(self.axis - len(self.sizes) - 1, -2)
        return moved

    def put(self, lines: Tensor, *, alive_only: bool = True) -> Tensor:
        lines = torch.where(self.alive, lines, -torch.inf if alive_only else 0)
        return lines.movedim(-1, self.axis - len(self.sizes)).flatten(-len(self.sizes))

    def put_values(self, lines: Tensor) -> Tensor:
        lines = torch.where(self.alive.unsqueeze(-1), lines, 0)
        return lines.movedim(-2, self.axis - len(self.sizes) - 1).flatten(-1 - len(self.sizes), -2)


def _lengths(axes: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(axis.shape[-2] for axis in axes)


def _along(values: Tensor, axis: int, axes: int) -> Tensor:
    """(..., n_k) -> (..., 1, .., n_k, .., 1): values that depend on one axis of an image."""
    return values.reshape(*values.shape[:-1], *(1,) * axis, values.shape[-1], *(1,) * (axes - axis - 1))


def _beside(coordinates: Tensor, axes: int, *, flat: bool = True) -> Tensor:
    """(..., n_k, 1) with room for the lines of an image, as one batch axis or one for each other axis."""
    room = (1,) if flat else (1,) * (axes - 1)
    return coordinates.reshape(*coordinates.shape[:-2], *room, *coordinates.shape[-2:])


def _lines(image: Tensor, axis: int, sizes: list[int]) -> Tensor:
    """(..., n, q) -> (..., lines, n_k, q)."""
    moved: Tensor = image.unflatten(-2, sizes).movedim(axis - len(sizes) - 1, -2)
    return moved.reshape(*image.shape[:-2], -1, *moved.shape[-2:])


def _unlined(lines: Tensor, axis: int, sizes: list[int]) -> Tensor:
    others = [size for k, size in enumerate(sizes) if k != axis]
    image = lines.unflatten(-3, others) if others else lines.squeeze(-3)
    return image.movedim(-2, axis - len(sizes) - 1).flatten(-1 - len(sizes), -2)
