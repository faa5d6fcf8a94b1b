"""Transport on the circle: the line, and one number more, how much mass passes the place where it is cut.

With F and G the distribution functions of the two measures on one period, continued by F(t + period) = F(t) + 1,
W_p^p = min over alpha of H(alpha) = int_0^1 |F^-1(u) - G^-1(u + alpha)|^p du, for every convex cost of the distance
along the circle (Delon, Salomon & Sobolevskii 2010; Rabin, Delon & Gousseau 2011). H is convex, and linear between
the alpha at which a level of F meets one of G, so bisection on the sign of its slope ends at such a meeting.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import ShapeError, complaint
from howfar.costs import safe_power
from howfar.measure import Measure, measures

_HALVINGS = 60
"""Of the interval [-1, 1] of alpha: what is left is less than the rounding of a level."""


def circle_wasserstein(
    x: Any, y: Any, *, p: float = 2.0, period: float = 1.0, a: Any = None, b: Any = None
) -> Tensor:  # (...)
    """W_p = (min_P sum_ij P_ij d(x_i, y_j)^p)^(1/p) on a circle, d the length of the shorter arc; in units of the data.

    Exact, in O((n + m) log(n + m)). Differentiable in points and weights; at distance 0 the derivative given is 0.
    Weights are divided by their sum.

    Args:
        x: places on the circle (n,) or (..., n, 1): angles, hours, phases; any number, taken modulo the period.
        y: places (m,) or (..., m, 1).
        p: order, >= 1.
        period: the circumference, in units of the data.
        a: weights (..., n) of x, uniform when left out; they sum to one.
        b: weights (..., m) of y.

    Raises:
        ShapeError: more than one feature.
        DomainError: p < 1, period <= 0.

    Example:
        >>> import torch, howfar
        >>> howfar.circle_wasserstein(torch.tensor([23.0]), torch.tensor([2.0]), period=24.0)
        tensor(3.)
    """
    p, period = _checks.check_number(p, "p", least=1.0), _checks.check_positive(period, "period")
    left, right = measures(x, y, a, b)
    if left.d != 1:
        fix = "Pass one column, x[..., :1], or the columns as a batch: x.mT.unsqueeze(-1)."
        raise ShapeError(complaint("x", "one number for each point of a circle", f"{left.d} features", fix))
    dtype = left.points.dtype
    left, right = left.to(torch.float64), right.to(torch.float64)
    # In units of the period no power overflows, and levels and places are both numbers in [0, 1).
    value = _cost(_places(left, period), _places(right, period), _shares(left), _shares(right), p)
    return (period * safe_power(value, 1 / p)).to(dtype)


def _places(measure: Measure, period: float) -> Tensor:
    """(..., n) in [0, 1), in the order given."""
    turns = measure.points.squeeze(-1) / period
    return turns - turns.detach().floor()


def _shares(measure: Measure) -> Tensor:
    """(..., n) the weights, of sum one."""
    return measure.weights / measure.weights.sum(-1, keepdim=True)


def _cost(x: Tensor, y: Tensor, a: Tensor, b: Tensor, p: float) -> Tensor:
    """(...) H at its minimum, for places (..., n), (..., m) in [0, 1) and weights of sum one."""
    (x, order_x), (y, order_y) = x.sort(-1), y.sort(-1)
    F, G = a.gather(-1, order_x).cumsum(-1), b.gather(-1, order_y).cumsum(-1)
    with torch.no_grad():
        alpha = _best(x, y, F, G, p)
        i, j, turns = _meeting(F, G, alpha)
    # At a minimum with a corner alpha follows the levels that meet there, so it is made of them.
    alpha = (G.gather(-1, j) - F.gather(-1, i)).squeeze(-1) + turns
    shifted = G - alpha.unsqueeze(-1)
    levels = torch.cat([F, shifted - shifted.detach().floor()], -1).sort(-1).values.clamp_max(1)
    width = torch.diff(levels, dim=-1, prepend=torch.zeros_like(levels[..., :1]))
    middle = (levels - 0.5 * width).detach()
    gap = _quantile(x, F, middle) - _quantile(y, G, middle + alpha.detach().unsqueeze(-1))
    return (width * _power(gap, p)).sum(-1)


def _best(x: Tensor, y: Tensor, F: Tensor, G: Tensor, p: float) -> Tensor:
    """(...) the alpha in [-1, 1] at which H is least: beyond, all mass moves one way round."""
    following = torch.cat([y[..., 1:], y[..., :1] + 1], -1)
    low, high = -torch.ones_like(x[..., 0]), torch.ones_like(x[..., 0])
    for _ in range(_HALVINGS):
        alpha = 0.5 * (low + high)
        # As alpha grows past a level of G, the place y_j there gives way to the next.
        meets = _quantile(x, F, G - alpha.unsqueeze(-1))
        slope = (_power(meets - following, p) - _power(meets - y, p)).sum(-1)
        low, high = torch.where(slope < 0, alpha, low), torch.where(slope < 0, high, alpha)
    return 0.5 * (low + high)


def _meeting(F: Tensor, G: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(i, j, turns), (..., 1), (..., 1), (...): alpha = G_j - F_i + turns up to rounding."""
    shifted = G - alpha.unsqueeze(-1)
    inside = shifted - shifted.floor()
    above = torch.searchsorted(F.contiguous(), inside.contiguous()).clamp_max(F.shape[-1] - 1)
    candidates = torch.stack([above, above - 1], -1) % F.shape[-1]
    level = F.gather(-1, candidates.flatten(-2)).unflatten(-1, candidates.shape[-2:])
    distance = inside.unsqueeze(-1) - level
    distance = (distance - distance.round()).abs().flatten(-2)
    nearest = distance.argmin(-1, keepdim=True)
    i, j = candidates.flatten(-2).gather(-1, nearest), nearest // 2
    turns = (alpha.unsqueeze(-1) - G.gather(-1, j) + F.gather(-1, i)).round().squeeze(-1)
    return i, j, turns


def _quantile(places: Tensor, levels: Tensor, u: Tensor) -> Tensor:
    """The continued quantile function at u (..., k): a turn more of u is a turn more on the circle."""
    turns = u.floor()
    at = torch.searchsorted(levels.detach().contiguous(), (u - turns).contiguous()).clamp_max(levels.shape[-1] - 1)
    return places.gather(-1, at) + turns


def _power(gap: Tensor, p: float) -> Tensor:
    return gap.square() if p == 2 else safe_power(gap.abs(), p)
