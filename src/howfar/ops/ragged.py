"""Ragged batches: clouds of different sizes one after another in memory, and offsets that say where each one starts.

Problem b pairs the rows x_offsets[b] .. x_offsets[b + 1] - 1 of x, and what belongs to them, with the rows of y between
its offsets. Nothing is padded: the work is that of the pairs there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._autograd import with_gradient
from howfar._errors import DomainError, ShapeError, complaint

Offsets = tuple[Tensor, Tensor]
Gradient = Callable[..., tuple[Tensor | None, ...]]


def check_offsets(offsets: Any, x: Tensor, y: Tensor) -> Offsets:
    """Two rising sequences of B + 1 integers, from 0 to the number of points of x, and of y."""
    if not isinstance(offsets, tuple | list) or len(offsets) != 2:
        fix = "Pass offsets=(x_offsets, y_offsets), cumulative sums of the sizes that start at 0."
        raise ShapeError(complaint("offsets", "a pair (x_offsets, y_offsets)", type(offsets).__name__, fix))
    for points, name in ((x, "x"), (y, "y")):
        if points.ndim != 2:
            got, fix = f"shape {tuple(points.shape)}", "Concatenate the clouds: torch.cat(clouds)."
            raise ShapeError(complaint(name, "a concatenation of shape (N, d) beside offsets", got, fix))
    sides = []
    for given, points, name in zip(offsets, (x, y), ("x", "y"), strict=True):
        side = torch.as_tensor(given, device="cpu")
        if side.is_floating_point() or side.ndim != 1 or len(side) < 2:
            got = f"{side.dtype} of shape {tuple(side.shape)}"
            raise ShapeError(complaint("offsets", f"integers of shape (B + 1,) for {name}", got, "Pass such offsets."))
        side = side.long().contiguous()
        if int(side[0]) != 0 or int(side[-1]) != len(points):
            got = f"from {int(side[0])} to {int(side[-1])}"
            expected = f"offsets of {name} from 0 to {len(points)}, the number of its points"
            raise DomainError(
                complaint("offsets", expected, got, "Pass the cumulative sum of the sizes, with a 0 before.")
            )
        empty = (side.diff() <= 0).nonzero()
        if len(empty):
            b = int(empty[0])
            got = f"{int(side.diff()[b])} in problem {b}"
            fix = "Skip problems without points."
            raise ShapeError(complaint("offsets", f"at least 1 point of {name} in every problem", got, fix))
        sides.append(side)
    if len(sides[0]) != len(sides[1]):
        got = f"{len(sides[0]) - 1} and {len(sides[1]) - 1}"
        raise ShapeError(complaint("offsets", "as many problems for x as for y", got, "Pair each cloud x with one y."))
    return sides[0], sides[1]


def check_each_has_one(h: Tensor, offsets: Offsets) -> None:
    """Raise where h is -inf for all points of a problem."""
    if _checks.unseen(h) or bool(torch.isfinite(h).all()):
        return
    problem = torch.arange(len(offsets[1]) - 1).repeat_interleave(offsets[1].diff()).to(h.device)
    highest = h.new_full((len(offsets[1]) - 1,), -torch.inf).scatter_reduce(0, problem, h.detach(), "amax")
    bad = (highest == -torch.inf).nonzero()
    if len(bad):
        expected = "a finite number for one point of y at least in each problem"
        raise DomainError(complaint("h", expected, f"-inf for all of problem {int(bad[0])}", "Leave some point in."))


def solve(
    each: Callable[..., Tensor],
    offsets: Offsets,
    x: Tensor,
    *others: Tensor,
    native: tuple[Callable[..., Tensor], Gradient] | None = None,
) -> Tensor:
    """A reduction of every problem, one after another along the first axis.

    Args:
        each: (b, x_b, *others_b) -> the reduction of problem b, differentiable.
        offsets: checked ones.
        x: (N, d).
        others: (M, ...), all that belongs to y.
        native: the value of all problems from the concatenations, and (wanted, grad, out, *inputs) -> its first
            derivative; where they are left out both are those of `each`.
    """
    rows, columns = (side.tolist() for side in offsets)

    def graph(x: Tensor, *others: Tensor) -> Tensor:
        return torch.cat(
            [
                each(b, x[rows[b] : rows[b + 1]], *(t[columns[b] : columns[b + 1]] for t in others))
                for b in range(len(rows) - 1)
            ]
        )

    return graph(x, *others) if native is None else with_gradient(*native, graph, x, *others)
