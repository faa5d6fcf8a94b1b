"""The three means over pairs that every kernel distance is made of: within x, within y, across."""

from __future__ import annotations

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, ShapeError, complaint
from howfar.kernels import Kernel
from howfar.measure import Measure
from howfar.ops import backends
from howfar.ops.kernel_summation.op import kernel_sum_of

_MARGIN = 1e-6


def accumulator(tensor: Tensor) -> torch.dtype:
    """The widest float of the device, for the last sums: their differences are small beside themselves."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def at_least_float32(measure: Measure) -> Measure:
    """The measure in float32 if it came in half precision, where a squared distance would overflow."""
    return measure.to(torch.promote_types(measure.points.dtype, torch.float32))


def check_scale(p: Measure, q: Measure, kernel: object) -> None:
    """Raise where the distances that a kernel, or the rule for its bandwidth, is made of overflow or vanish."""
    power = kernel.highest_power if isinstance(kernel, Kernel) else 2.0
    _checks.check_distances(p.points, q.points, power)
    _checks.check_vanishing(p.points, q.points, power)


def discrepancy(p: Measure, q: Measure, kernel: Kernel, *, unbiased: bool, backend: str) -> Tensor:
    """E k(X, X') + E k(Y, Y') - 2 E k(X, Y), (...), from every pair (unbiased: every pair of different indices)."""
    dtype = p.points.dtype
    p, q = at_least_float32(p), at_least_float32(q)
    if unbiased:
        check_two_points(p, "x")
        check_two_points(q, "y")
    across = _dot(p.weights, rows(p.points, q, kernel, backend))
    own = [within(m, kernel, unbiased=unbiased, backend=backend) for m in (p, q)]
    value = own[0] + own[1] - 2 * across
    return _checks.check_held((value if unbiased else never_negative(value)).to(dtype))


def rows(points: Tensor, q: Measure, kernel: Kernel, backend: str) -> Tensor:
    """sum_j b_j k(x_i, y_j) for points that were checked, (..., n)."""
    _checks.check_choice(backend, "backend", backends.BACKENDS)
    return kernel_sum_of(points, q.points, q.weights.unsqueeze(-1), kernel, backend).squeeze(-1)


def within(p: Measure, kernel: Kernel, *, unbiased: bool, backend: str) -> Tensor:
    """sum_ij a_i a_j k(x_i, x_j), or the U-statistic sum_{i != j} a_i a_j k(x_i, x_j) / sum_{i != j} a_i a_j."""
    value = _dot(p.weights, rows(p.points, p, kernel, backend))
    if not unbiased:
        return value
    squares = p.weights.to(value.dtype).square()
    mass = p.weights.to(value.dtype).sum(-1)
    return (value - _dot(squares, kernel.diagonal(p.points))) / (mass.square() - squares.sum(-1))


def never_negative(value: Tensor) -> Tensor:
    """The value without the rounding below zero; its derivatives are untouched, so that they are right at zero too."""
    return value + (value.detach().clamp_min(0) - value.detach())


def check_two_points(p: Measure, name: str) -> None:
    """Raise unless two points at least carry mass: pairs of different indices are needed."""
    fix = "Pass estimator='biased', which single points have too."
    fewest = p.n if p.sizes is None else min(p.sizes)
    if fewest < 2:
        raise ShapeError(complaint(name, "at least 2 points for estimator='unbiased'", f"{fewest}", fix))
    if (
        not p.uniform
        and not _checks.unseen(p.weights)
        and bool((p.weights.detach().square().sum(-1) > 1 - _MARGIN).any())
    ):
        weights = {"x": "a", "y": "b"}[name]
        raise DomainError(
            complaint(weights, "mass on at least 2 points for estimator='unbiased'", "all mass on one point", fix)
        )


def _dot(weights: Tensor, rows: Tensor) -> Tensor:
    dtype = accumulator(rows)
    return (weights.to(dtype) * rows.to(dtype)).sum(-1)
