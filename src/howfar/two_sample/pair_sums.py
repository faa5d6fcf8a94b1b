"""Sums of a kernel over pairs under many labellings at once, each kernel value computed once.

With A (N x B) the 0/1 matrix of all labellings only a'Ka and a'K1 are needed for each column a, because
sum over y-y pairs = 1'K1 - 2 a'K1 + a'Ka and sum over x-y pairs = a'K1 - a'Ka. K is streamed in blocks of rows and
half of it is never formed, by symmetry: memory O(N B).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from howfar._progress import tell

BLOCK_ELEMENTS = 2**21
"""Kernel values held at once."""
LABEL_ELEMENTS = 2**26
"""Labels held at once as numbers; for more of them the kernel values are computed again."""

Shared: TypeAlias = tuple[Callable[[Tensor, Tensor], Tensor], tuple[Callable[[Tensor], Tensor], ...]]
"""A matrix over pairs, and the kernels that are functions of it."""


@dataclass(frozen=True)
class PairSums:
    """Sums over ordered pairs i != j, in float64 where the device has it.

    Attributes:
        xx: (B,) both rows called x.
        yy: (B,) both called y.
        xy: (B,) one of each, every such pair counted once.
        squares: () k^2 over all pairs.
        n: (B,) how many rows are called x.
        m: (B,) how many are called y.
    """

    xx: Tensor
    yy: Tensor
    xy: Tensor
    squares: Tensor
    n: Tensor
    m: Tensor

    def unbiased(self) -> Tensor:
        """The U-statistic of E k(X, X') + E k(Y, Y') - 2 E k(X, Y), (B,)."""
        return self.xx / (self.n * (self.n - 1)) + self.yy / (self.m * (self.m - 1)) - 2 * self.xy / (self.n * self.m)

    def biased(self, own_x: Tensor, own_y: Tensor) -> Tensor:
        """The V-statistic (B,), with the sums of k(z, z) over the rows of either side."""
        return (
            (self.xx + own_x) / self.n.square() + (self.yy + own_y) / self.m.square() - 2 * self.xy / (self.n * self.m)
        )


def pair_sums(
    points: Tensor,  # (N, d)
    labels: Tensor,  # (N, B)
    families: Iterable[Shared],
) -> list[PairSums]:
    """One `PairSums` for each kernel, in the order of the families."""
    families = list(families)
    step = max(1, LABEL_ELEMENTS // len(points))
    groups = labels.split(step, 1)
    parts = [_pair_sums(points, some, families, (k, len(groups))) for k, some in enumerate(groups)]
    return [_joined(of_one) for of_one in zip(*parts, strict=True)]


def _joined(parts: tuple[PairSums, ...]) -> PairSums:
    """The sums of one kernel over all columns of labels."""
    xx, yy, xy, n, m = (torch.cat([getattr(part, name) for part in parts]) for name in ("xx", "yy", "xy", "n", "m"))
    return PairSums(xx, yy, xy, parts[0].squares, n, m)


def _pair_sums(points: Tensor, labels: Tensor, families: list[Shared], turn: tuple[int, int]) -> list[PairSums]:
    """The sums of some columns of labels; `turn` is the number of this group of them, and of how many."""
    wide = torch.float32 if points.device.type == "mps" else torch.float64
    # In float32 the sums of rows in one piece, as the observed labelling has them, round otherwise than those of others:
    # where labellings tie, as with few distinct points, the p-value would always err to one side.
    columns = labels.to(points.device, wide)
    n_points, n_kernels = len(points), sum(len(profiles) for _, profiles in families)
    inside = points.new_zeros(n_kernels, columns.shape[1], dtype=wide)
    degrees = points.new_zeros(n_kernels, n_points, dtype=wide)
    squares = points.new_zeros(n_kernels, dtype=wide)
    for start, stop in _blocks(n_points):
        # Of the pairs i < j, those that are left are a square of what is left of the points.
        tell("pairs of points", (turn[0] + 1 - (1 - start / n_points) ** 2) / turn[1])
        own, rest = columns[start:stop], columns[start:]
        kernel = 0
        for matrix, profiles in families:
            base = matrix(points[start:stop], points[start:])
            for profile in profiles:
                values = profile(base)
                values = values.clone() if values is base else values
                # Pairs inside the block are met from both ends: halved here, doubled with the others below.
                within = values[:, : stop - start]
                within *= 0.5
                within.fill_diagonal_(0)
                inside[kernel] += 2 * (own * (values.to(wide) @ rest)).sum(0)
                degrees[kernel, start:stop] += values.sum(1, dtype=wide)
                degrees[kernel, start:] += values.sum(0, dtype=wide)
                squares[kernel] += 2 * values[:, stop - start :].square().sum(dtype=wide)
                squares[kernel] += 4 * within.square().sum(dtype=wide)
                kernel += 1
    n = labels.sum(0).to(points.device, wide)
    along = degrees @ columns
    return [
        PairSums(xx, total - 2 * r + xx, r - xx, square, n, n_points - n)
        for xx, r, total, square in zip(inside, along, degrees.sum(1), squares, strict=True)
    ]


def _blocks(n_points: int) -> Iterable[tuple[int, int]]:
    start = 0
    while start < n_points:
        stop = min(n_points, start + max(1, BLOCK_ELEMENTS // (n_points - start)))
        yield start, stop
        start = stop
