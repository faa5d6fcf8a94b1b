"""Sliced transport: the mean over directions of transport on the line."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, complaint
from howfar.costs import safe_power
from howfar.measure import Measure, centred, in_their_unit, measures
from howfar.ops.precision import without_autocast
from howfar.ops.streaming import BLOCK_ELEMENTS
from howfar.optimal_transport.directions import SCHEMES, Directions, directions_like
from howfar.optimal_transport.one_dimensional import quantile_cost
from howfar.optimal_transport.solve import widened
from howfar.results import Estimate

_FEWEST_GROUPS = 8
"""Below this many independent groups their spread says too little of the error."""


def sliced_wasserstein(
    x: Any,
    y: Any,
    *,
    p: float = 2.0,
    n_projections: int = 128,
    a: Any = None,
    b: Any = None,
    directions: Any = "orthogonal",
    generator: torch.Generator | None = None,
) -> Tensor:  # (...)
    """(mean over unit directions u of W_p(<x, u>, <y, u>)^p)^(1/p), in units of the data (Bonneel et al. 2015).

    O(L n log n) for L directions. Differentiable in points and weights. The result depends on the directions
    drawn: pass `generator`, or `directions`, for the same number twice. `sliced_wasserstein_estimate` tells how much.

    Args:
        x: points (..., n, d).
        y: points (..., m, d).
        p: order, >= 1.
        n_projections: how many directions L, each uniform on the sphere; on the line one is enough.
        a: weights (..., n) of x, uniform when left out; they sum to one.
        b: weights (..., m) of y.
        directions: how they are drawn. "orthogonal": random orthonormal bases, which never look twice the same way
            (Rowland et al. 2019); "independent"; "quasi-random": evenly spread and turned at random, for d <= 3.
            Or (L, d) unit vectors to use instead.
        generator: of the draw; torch's own when left out.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> howfar.sliced_wasserstein(x, x + 3)
        tensor(3.)
    """
    powers, _, unit, p, dtype = _sliced(x, y, p, n_projections, a, b, directions, generator)
    return (unit * safe_power(powers.mean(-1), 1 / p)).to(dtype)


def sliced_wasserstein_estimate(
    x: Any,
    y: Any,
    *,
    p: float = 2.0,
    n_projections: int = 128,
    a: Any = None,
    b: Any = None,
    directions: str = "orthogonal",
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Estimate:
    """`sliced_wasserstein` with the error that comes from taking L directions instead of all, in units of the data.

    The clouds count as given: this is not the error of having a sample. Directions fall into independent groups
    (one direction; one orthonormal basis; one of 8 evenly spread sets), and the spread of the groups' means gives
    the standard error of the mean power, carried to its root (delta method); the interval is normal. With fewer than
    eight groups the directions count as independent, which for orthogonal ones is too wide rather than too narrow.

    Args:
        x: points (..., n, d).
        y: points (..., m, d).
        p: order, >= 1.
        n_projections: how many directions.
        a: weights (..., n) of x, uniform when left out; they sum to one.
        b: weights (..., m) of y.
        directions: "orthogonal", "independent" or "quasi-random".
        level: coverage of the interval.
        generator: of the draw; torch's own when left out.

    Returns:
        An `Estimate`, whose value is what `sliced_wasserstein` returns for the same draw.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> generator = torch.Generator().manual_seed(0)
        >>> e = howfar.sliced_wasserstein_estimate(x, x + 3, generator=generator)  # sqrt(3^2 + 3^2) / sqrt(2)
        >>> print(f"{e.value:.3f} +- {e.standard_error:.3f}")
        3.000 +- 0.000
    """
    level = _checks.check_positive(level, "level")
    if level >= 1:
        raise DomainError(complaint("level", "a coverage below 1", f"{level:g}", "Pass 0.95, say."))
    _checks.check_choice(directions, "directions", SCHEMES)
    powers, drawn, unit, p, dtype = _sliced(x, y, p, n_projections, a, b, directions, generator)
    mean = powers.mean(-1)
    value = unit * safe_power(mean, 1 / p)
    error, warnings = _error_of_the_mean(powers.detach(), drawn)
    slope = torch.where(mean > 0, value / (p * torch.where(mean > 0, mean, 1)), 0).detach()
    half = math.sqrt(2) * torch.erfinv(torch.tensor(level, dtype=torch.float64)).item() * error
    lower, upper = (unit * safe_power((mean + side * half).detach().clamp_min(0), 1 / p) for side in (-1, 1))
    return Estimate(
        value.to(dtype),
        (slope * error).to(dtype),
        (lower.to(dtype), upper.to(dtype)),
        level,
        f"{powers.shape[-1]} {directions} directions" if drawn.groups else "closed form",
        warnings,
    )


def _error_of_the_mean(powers: Tensor, drawn: Directions) -> tuple[Tensor, tuple[str, ...]]:
    """The standard error (...) of the mean of powers (..., L), from the spread of the means of its groups."""
    count = powers.shape[-1]
    groups = drawn.groups
    warnings: tuple[str, ...] = ()
    if not groups:
        return torch.zeros_like(powers[..., 0]), ()
    if len(groups) < _FEWEST_GROUPS:
        groups = (1,) * count
        warnings = ("Few groups of directions: the error is that of independent ones. Raise n_projections.",)
    if count == 1:
        return torch.full_like(powers[..., 0], torch.inf), ("One direction says nothing of the others.",)
    mean = powers.mean(-1, keepdim=True)
    shares = torch.stack([(part - mean).sum(-1) for part in powers.split(list(groups), -1)], -1) / count
    return (len(groups) / (len(groups) - 1) * shares.square().sum(-1)).sqrt(), warnings


def _sliced(
    x: Any, y: Any, p: Any, n_projections: Any, a: Any, b: Any, directions: Any, generator: torch.Generator | None
) -> tuple[Tensor, Directions, Tensor, float, torch.dtype]:
    """(powers (..., L) in the clouds' own unit, directions, that unit, order, dtype of the input)."""
    p = _checks.check_number(p, "p", least=1.0)
    count = _checks.check_count(n_projections, "n_projections")
    left, right = centred(*measures(x, y, a, b))
    dtype = left.points.dtype
    left, right, unit = in_their_unit(*widened(left, right), p)
    drawn = directions_like(left.points, directions, count, generator)
    block = max(1, BLOCK_ELEMENTS // (max(1, left.batch.numel()) * (left.n + right.n)))
    powers = [powers_along(chunk, left, right, p) for chunk in drawn.axes.split(block)]
    return torch.cat(powers, -1), drawn, unit, p, dtype


def powers_along(axes: Tensor, x: Measure, y: Measure, p: float) -> Tensor:
    """W_p^p of the projections on each axis: axes (..., L, d) -> (..., L)."""
    a, b = (None if m.uniform else m.weights.unsqueeze(-2) for m in (x, y))
    with without_autocast(axes.device):
        projected = axes @ x.points.mT, axes @ y.points.mT
    return quantile_cost(*projected, a, b, p)
