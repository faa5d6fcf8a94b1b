"""Sliced transport: the mean over directions of transport on the line."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import ShapeError, complaint
from howfar.costs import safe_power
from howfar.measure import centred, measures
from howfar.ops.precision import without_autocast
from howfar.ops.streaming import BLOCK_ELEMENTS
from howfar.optimal_transport.one_dimensional import quantile_cost
from howfar.optimal_transport.solve import widened
from howfar.optimal_transport.units import in_their_unit


def sliced_wasserstein(
    x: Any,
    y: Any,
    *,
    p: float = 2.0,
    n_projections: int = 128,
    a: Any = None,
    b: Any = None,
    directions: Any = None,
    generator: torch.Generator | None = None,
) -> Tensor:  # (...)
    """(mean over unit directions u of W_p(<x, u>, <y, u>)^p)^(1/p), in units of the data (Bonneel et al. 2015).

    O(L n log n) for L directions. Differentiable in points and weights. The result depends on the directions
    drawn: pass `generator`, or `directions`, for the same number twice.

    Args:
        x: points (..., n, d).
        y: points (..., m, d).
        p: order, >= 1.
        n_projections: how many directions, drawn uniformly on the sphere; on the line one is enough.
        a: weights (..., n) of x, uniform when left out; they sum to one.
        b: weights (..., m) of y.
        directions: (L, d) unit vectors to use instead of drawn ones.
        generator: of the draw; torch's own when left out.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> howfar.sliced_wasserstein(x, x + 3)
        tensor(3.)
    """
    p = _checks.check_number(p, "p", least=1.0)
    count = _checks.check_count(n_projections, "n_projections")
    left, right = centred(*measures(x, y, a, b))
    dtype = left.points.dtype
    left, right, unit = in_their_unit(*widened(left, right), p)
    axes = _directions(directions, count, left.points, generator)
    block = max(1, BLOCK_ELEMENTS // (max(1, left.batch.numel()) * (left.n + right.n)))
    a, b = (None if m.uniform else m.weights.unsqueeze(-2) for m in (left, right))
    total = left.points.new_zeros(left.batch)
    for chunk in axes.split(block):
        with without_autocast(axes.device):
            projected = chunk @ left.points.mT, chunk @ right.points.mT
        total = total + quantile_cost(*projected, a, b, p).sum(-1)
    return (unit * safe_power(total / axes.shape[0], 1 / p)).to(dtype)


def _directions(given: Any, count: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    d = like.shape[-1]
    _checks.check_generator(generator)
    if given is not None:
        axes = _checks.check_points(given, "directions").to(like)
        if axes.ndim != 2 or axes.shape[-1] != d:
            raise ShapeError(
                complaint("directions", f"shape (L, {d})", f"{tuple(axes.shape)}", "Pass one unit vector a row.")
            )
        return axes
    if d == 1:
        return like.new_ones(1, 1)
    device = like.device if generator is None else generator.device
    drawn = torch.randn(
        count, d, generator=generator, device=device, dtype=torch.float64 if device.type != "mps" else None
    )
    unit: Tensor = drawn / drawn.norm(dim=-1, keepdim=True)
    return unit.to(like)
