"""The direction along which two clouds differ most."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._autograd import first_order
from howfar.costs import safe_power
from howfar.measure import Measure, centred, in_their_unit, measures
from howfar.optimal_transport.directions import directions_like
from howfar.optimal_transport.projections import powers_along
from howfar.optimal_transport.solve import widened

_LOOKED_AT = 8
"""Directions that are only looked at, for each one that an ascent starts from."""
_SMALLEST_TURN = 1e-9
"""Radians; the value at a maximum is then right to their square, where it is smooth."""


def max_sliced_wasserstein(
    x: Any,
    y: Any,
    *,
    p: float = 2.0,
    n_starts: int = 8,
    n_steps: int = 200,
    a: Any = None,
    b: Any = None,
    generator: torch.Generator | None = None,
) -> Tensor:  # (...)
    """max over unit directions u of W_p(<x, u>, <y, u>), in units of the data (Deshpande et al. 2019).

    Found by gradient ascent on the sphere along great circles, from the direction of the means' difference, from
    those in which the variances differ most and least, and from the best of random ones. The maximum found is a
    lower bound of the true one: not below `sliced_wasserstein` over the directions looked at, and never above W_p.
    Differentiable once in points and weights, at the direction found held fixed (Danskin's theorem); where two
    projections coincide there, it is one of the one-sided derivatives.

    Args:
        x: points (..., n, d).
        y: points (..., m, d).
        p: order, >= 1.
        n_starts: how many random directions an ascent starts from, besides the three from the moments.
        n_steps: most steps of an ascent.
        a: weights (..., n) of x, uniform when left out; they sum to one.
        b: weights (..., m) of y.
        generator: of the random starts; torch's own when left out.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> howfar.max_sliced_wasserstein(x, x + torch.tensor([3.0, 4.0]))
        tensor(5.)
    """
    _checks.refuse_transforms("max_sliced_wasserstein")
    p = _checks.check_number(p, "p", least=1.0)
    n_starts = _checks.check_count(n_starts, "n_starts", least=0)
    n_steps = _checks.check_count(n_steps, "n_steps", least=0)
    left, right = centred(*measures(x, y, a, b))
    dtype = left.points.dtype
    left, right, unit = in_their_unit(*widened(left, right), p)
    axis = _steepest(_constant(left), _constant(right), p, n_starts, n_steps, generator).to(left.points)

    def value(u: Tensor, v: Tensor, *weights: Tensor) -> Tensor:
        one, other = (
            Measure(points, w, m.uniform) for points, w, m in zip((u, v), weights, (left, right), strict=True)
        )
        return powers_along(axis, one, other, p).squeeze(-1)

    inputs = left.points, right.points, left.weights, right.weights
    power = first_order("the maximal sliced distance", value, *inputs)
    return (unit * safe_power(power, 1 / p)).to(dtype)


def _constant(measure: Measure) -> Measure:
    """The measure cut from the graph, in float64 where the device has it: a search compares values that are close."""
    points, weights = measure.points.detach(), measure.weights.detach()
    if points.device.type != "mps":
        points, weights = points.double(), weights.double()
    return Measure(points, weights, measure.uniform)


@torch.no_grad()
def _steepest(
    x: Measure, y: Measure, p: float, n_starts: int, n_steps: int, generator: torch.Generator | None
) -> Tensor:
    """The best direction found, (..., 1, d)."""
    _checks.check_generator(generator)
    if x.d == 1:
        return torch.ones_like(x.points[..., :1, :])
    axes = torch.cat([_from_moments(x, y), _random(x, y, p, n_starts, generator)], -2)
    powers, slopes = _powers_and_slopes(axes, x, y, p)
    turn = torch.full_like(powers, 0.25)
    for _ in range(n_steps):
        heading, steep = _unit(slopes - (slopes * axes).sum(-1, keepdim=True) * axes)
        if not bool((steep & (turn > _SMALLEST_TURN)).any()):
            break
        angle = turn.unsqueeze(-1)
        tried, _ = _unit(angle.cos() * axes + angle.sin() * heading)
        tried_powers, tried_slopes = _powers_and_slopes(tried, x, y, p)
        better = tried_powers > powers
        # A turn that went up is dared twice as large next time, one that overshot a third as large.
        turn = torch.where(better, (2 * turn).clamp_max(0.5), turn / 3)
        chosen = better.unsqueeze(-1)
        axes, slopes = torch.where(chosen, tried, axes), torch.where(chosen, tried_slopes, slopes)
        powers = torch.where(better, tried_powers, powers)
    best = powers.argmax(-1, keepdim=True).unsqueeze(-1)
    return axes.gather(-2, best.expand(*best.shape[:-1], x.d))


def _powers_and_slopes(axes: Tensor, x: Measure, y: Measure, p: float) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = axes.detach().requires_grad_()
        powers = powers_along(leaf, x, y, p)
        (slopes,) = torch.autograd.grad(powers.sum(), leaf)
    return powers.detach(), slopes


def _from_moments(x: Measure, y: Measure) -> Tensor:
    """(..., 3, d): the difference of the means, and the ends of the spectrum of the difference of the covariances."""
    mean, _ = _unit((x.mean() - y.mean()).unsqueeze(-2))
    _, vectors = torch.linalg.eigh(_covariance(x) - _covariance(y))
    return torch.cat([mean, vectors[..., :1].mT, vectors[..., -1:].mT], -2)


def _covariance(measure: Measure) -> Tensor:
    spread = measure.points - measure.mean().unsqueeze(-2)
    return (measure.weights.unsqueeze(-1) * spread).mT @ spread


def _random(x: Measure, y: Measure, p: float, count: int, generator: torch.Generator | None) -> Tensor:
    """(..., count, d): the best of some random directions."""
    axes = directions_like(x.points, "orthogonal", max(1, _LOOKED_AT * count), generator).axes
    best = powers_along(axes, x, y, p).topk(count, -1).indices
    return axes[best]


def _unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of length one, or the first axis where there is none, and which had a length."""
    length = vectors.norm(dim=-1, keepdim=True)
    positive = length > 0
    first = torch.zeros_like(vectors)
    first[..., 0] = 1
    return torch.where(positive, vectors / torch.where(positive, length, 1), first), positive.squeeze(-1)
