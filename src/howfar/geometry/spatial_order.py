"""Points along Hilbert's curve, so that neighbours in memory are neighbours in space.

Blocks of such a cloud have small boxes, and the compiled ops pass over boxes that are too far to count.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_FINER = 6
"""Bits of a position on the curve beyond those that count the points: few of them share a cell."""
_MOST = 60
"""Bits of a position, shared by the features."""


@dataclass(frozen=True)
class Order:
    """A permutation of points.

    Attributes:
        index: (..., n) the points in their new order.
        rank: (..., n) the place of each point in it.
    """

    index: Tensor
    rank: Tensor

    def points(self, x: Tensor) -> Tensor:
        """(..., n, d) in the new order."""
        return x.gather(-2, self.index.unsqueeze(-1).expand(x.shape))

    def numbers(self, h: Tensor) -> Tensor:
        """(..., n) in the new order."""
        return h.gather(-1, self.index.expand(h.shape))

    def undone(self, out: Tensor) -> Tensor:
        """(..., n) back in the order that the points had."""
        return out.gather(-1, self.rank.expand(out.shape))

    def rows_undone(self, out: Tensor) -> Tensor:
        """(..., n, q) back in the order that the points had."""
        return out.gather(-2, self.rank.unsqueeze(-1).expand(out.shape))


def unchanged(x: Tensor) -> Order:
    """The order of points (..., n, d) that lie as they should."""
    places = torch.arange(x.shape[-2], device=x.device).expand(x.shape[:-1])
    return Order(places, places)


@torch.no_grad()
def spatial_order(x: Tensor) -> Order:
    """The points x (..., n, d) along Hilbert's curve through their bounding cube (Skilling 2004)."""
    n, d = x.shape[-2:]
    bits = min(_MOST, n.bit_length() + _FINER) // d + 1
    low = x.amin(-2, keepdim=True)
    extent = (x.amax(-2, keepdim=True) - low).amax(-1, keepdim=True)
    cells = 2**bits * ((x - low) / torch.where(extent > 0, extent, 1))
    index = _curve(list(cells.long().clamp_(0, 2**bits - 1).unbind(-1)), bits).argsort(-1)
    places = torch.arange(index.shape[-1], device=index.device)
    rank = torch.empty_like(index).scatter_(-1, index, places.expand(index.shape))
    return Order(index, rank)


def _curve(at: list[Tensor], bits: int) -> Tensor:
    """The position on the curve of cells with the given coordinates."""
    for bit in range(bits - 1, 0, -1):
        below = 2**bit - 1
        for i, axis in enumerate(at):
            inverted = (axis >> bit & 1).bool()
            swapped = torch.where(inverted, 0, (at[0] ^ axis) & below)
            at[0] = at[0] ^ torch.where(inverted, below, swapped)
            if i:
                at[i] = axis ^ swapped
    for i in range(1, len(at)):
        at[i] = at[i] ^ at[i - 1]
    flips = torch.zeros_like(at[0])
    for bit in range(bits - 1, 0, -1):
        flips = torch.where((at[-1] >> bit & 1).bool(), flips ^ (2**bit - 1), flips)
    position = torch.zeros_like(at[0])
    for bit in range(bits - 1, -1, -1):
        for axis in at:
            position = position << 1 | ((axis ^ flips) >> bit & 1)
    return position
