"""Energy distance: the discrepancy of the kernel -|x - y|^p, which needs no bandwidth."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar.kernel_distances import pairs
from howfar.kernels import Energy
from howfar.measure import Measure, in_their_unit, measures


def energy_distance(
    x: Any,  # (..., n, d)
    y: Any,  # (..., m, d)
    *,
    a: Any = None,  # (..., n)
    b: Any = None,  # (..., m)
    exponent: float = 1.0,
    estimator: str = "biased",
    backend: str = "auto",
) -> Tensor:  # (...)
    """Energy distance 2 E|X - Y|^p - E|X - X'|^p - E|Y - Y'|^p, in the data's unit to the power p.

    Szekely and Rizzo, "Energy statistics", J. Stat. Plan. Inference 2013. For 0 < p < 2 it is zero only between equal
    distributions; for p = 2 it is twice the squared distance of the means. On the line with p = 1 it is
    2 int (F - G)^2, found by sorting in O(n log n); `scipy.stats.energy_distance` is its root. Elsewhere it streams
    over pairs in linear memory. Twice differentiable in points and weights.

    Args:
        x: points (..., n, d); or a list of clouds (n_b, d) of different sizes, a batch (B,) of them.
        y: points (..., m, d); n and m may differ.
        a: weights (..., n), uniform when left out.
        b: weights (..., m), uniform when left out.
        exponent: p in (0, 2].
        estimator: "biased", all pairs: the exact distance of the two weighted clouds, >= 0; or "unbiased", pairs of
            different indices: its mean is the distance of the populations, and it may be negative.
        backend: "auto", "reference", "cpu" or "triton"; any but "auto" goes over pairs on the line too.

    Raises:
        ShapeError: fewer than two points on a side with estimator="unbiased".
        DomainError: an exponent outside (0, 2].

    Example:
        >>> import torch
        >>> from howfar.kernel_distances import energy_distance
        >>> energy_distance(torch.tensor([0.0]), torch.tensor([1.0]))
        tensor(2.)
    """
    _checks.check_choice(estimator, "estimator", ("biased", "unbiased"))
    kernel = Energy(exponent)
    p, q = measures(x, y, a, b)
    unbiased = estimator == "unbiased"
    if backend == "auto" and p.d == 1 and kernel.exponent == 1:
        return _on_the_line(p, q, unbiased=unbiased)
    if all(_checks.is_minute(m.points) for m in (p, q)) or any(_checks.is_huge(m.points) for m in (p, q)):
        dtype = p.points.dtype
        p, q, unit = in_their_unit(pairs.at_least_float32(p), pairs.at_least_float32(q), kernel.exponent)
        value = pairs.discrepancy(p, q, kernel, unbiased=unbiased, backend=backend)
        return _checks.check_held((unit**kernel.exponent * value).to(dtype))
    return pairs.discrepancy(p, q, kernel, unbiased=unbiased, backend=backend)


def _on_the_line(p: Measure, q: Measure, *, unbiased: bool) -> Tensor:
    if unbiased:
        pairs.check_two_points(p, "x")
        pairs.check_two_points(q, "y")
    dtype, wide = p.points.dtype, pairs.accumulator(p.points)
    p, q = p.to(wide), q.to(wide)
    x, y, a, b = p.points[..., 0], q.points[..., 0], p.weights, q.weights
    value = -spread(torch.cat([x, y], -1), torch.cat([a, -b], -1))
    if unbiased:
        for points, weights in ((x, a), (y, b)):
            squares = weights.square().sum(-1)
            # sum_{i != j} / (1 - squares) in place of sum_ij.
            value = value - spread(points, weights) * (1 / (weights.sum(-1).square() - squares) - 1)
    else:
        value = pairs.never_negative(value)
    return _checks.check_held(value.to(dtype))


def spread(values: Tensor, weights: Tensor) -> Tensor:
    """sum_ij w_i w_j |z_i - z_j| of values and weights (..., n), of either sign, by one sort: (...).

    It is 2 sum_i w_i z_i (W_i^- - W_i^+), with the weight below and above each value. Equal values lie neither below
    nor above each other, so their derivative is 0, as it is in a sum over pairs.
    """
    values = values - values.detach().mean(-1, keepdim=True)
    ordered, order = values.sort(-1)
    weights = weights.gather(-1, order)
    cumulated = torch.nn.functional.pad(weights.cumsum(-1), (1, 0))
    levels = ordered.detach().contiguous()
    below = cumulated.gather(-1, torch.searchsorted(levels, levels, right=False))
    upto = cumulated.gather(-1, torch.searchsorted(levels, levels, right=True))
    return 2 * (weights * ordered * (below + upto - cumulated[..., -1:])).sum(-1)
