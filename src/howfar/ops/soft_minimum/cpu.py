"""The soft minimum on the compiled kernels: values, averages and first derivatives of plain float32 and float64 tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from howfar import _native
from howfar.costs import Cost
from howfar.ops import compiled
from howfar.ops.compiled import Base, Clouds

Kept = tuple[Tensor, ...]


def why_unavailable(cost: Cost, *tensors: Tensor) -> str | None:
    """Why this cost on these tensors goes another way; None where it can be computed here."""
    base = compiled.base_of(cost)
    if isinstance(base, str):
        return base
    return compiled.why_not_these(*tensors) or _native.why_no_kernels()


def softmin(x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: Cost) -> Tensor:
    """-eps log sum_j exp((h_j - c(x_i, y_j)) / eps): (..., n)."""
    return _value(_arranged(x, y, eps, cost), h, eps, None)[0].to(x.dtype)


def softmin_apply(x: Tensor, y: Tensor, h: Tensor, v: Tensor, eps: Tensor, cost: Cost) -> Tensor:
    """(..., n, 1 + q): the soft minimum, then the averages of v."""
    value, averages = _value(_arranged(x, y, eps, cost), h, eps, v)
    return torch.cat([value.unsqueeze(-1), averages], -1).to(x.dtype)


def why_no_average(cost: Cost, *tensors: Tensor) -> str | None:
    """Why `softmin_cost` of this cost on these tensors goes another way; None where it can be computed here."""
    base = compiled.base_of(cost)
    if isinstance(base, Base) and (base.kind != "squared" or base.exponent != 1):
        return f"the average of the cost {cost.name!r} is not one of the compiled ones"
    return why_unavailable(cost, *tensors)


def softmin_cost(x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: Cost) -> Tensor:
    """(..., n): the average of the cost, from those of y and |y|^2, whose difference float64 can take."""
    clouds = _arranged(x, y, eps, cost, wide=True)
    centre = clouds.y.mean(-2, keepdim=True)
    rows, columns = clouds.x - centre, clouds.y - centre
    values = torch.cat([columns, columns.square().sum(-1, keepdim=True)], -1)
    averages = _value(clouds, h, eps, values)[1]
    cross = (rows * averages[..., :-1]).sum(-1)
    total = rows.square().sum(-1) - 2 * cross + averages[..., -1]
    return (clouds.factor * total).clamp_min(0).to(x.dtype)


def forward(keep: bool, x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: Cost) -> tuple[Tensor, Kept]:
    """The soft minimum, and what its derivative can use of this pass."""
    clouds = _arranged(x, y, eps, cost)
    if not (keep and clouds.gentle):
        return _value(clouds, h, eps, None)[0].to(x.dtype), ()
    value, averages = _value(clouds, h, eps, clouds.y - _centre(clouds))
    return value.to(x.dtype), (value, averages)


def gradient(
    wanted: tuple[bool, ...], grad: Tensor, inputs: tuple[Tensor, ...], kept: Kept, eps: Tensor, cost: Cost
) -> tuple[Tensor | None, ...] | None:
    """The vector-Jacobian product in x, y and h; None where this cost has none here."""
    base = compiled.base_of(cost)
    assert isinstance(base, Base)
    in_x, in_y, in_h = wanted
    if (in_x or in_y) and not base.radial:
        return None
    x, y, h = inputs
    clouds = _arranged(x, y, eps, cost, wide=not kept)
    if kept:
        value, averages = kept
    else:
        value, averages = _value(clouds, h, eps, clouds.y - _centre(clouds) if in_x and base.exponent == 1 else None)
    g = grad.to(value.dtype)
    slope = 2 * clouds.factor / clouds.unit
    rows, columns = (clouds.x - _centre(clouds), clouds.y - _centre(clouds)) if in_x or in_y else (x, y)
    by_x = by_y = by_h = None
    if in_x and base.exponent == 1:
        by_x = slope * g.unsqueeze(-1) * (rows - averages)
    elif in_x:
        sums = _gibbs(clouds, value, h, _with_points(torch.ones_like(h, dtype=g.dtype), columns), eps, slope=True)
        by_x = slope * g.unsqueeze(-1) * (rows * sums[..., :1] - sums[..., 1:])
    if in_y:
        sums = _gibbs(clouds.swapped(), h, value, _with_points(g, rows), eps, slope=base.exponent != 1)
        by_y = slope * (columns * sums[..., :1] - sums[..., 1:])
        by_h = -sums[..., 0] if base.exponent == 1 else None
    if in_h and by_h is None:
        by_h = -_gibbs(clouds.swapped(), h, value, g.unsqueeze(-1), eps, slope=False)[..., 0]
    grads = zip((by_x, by_y, by_h), wanted, inputs, strict=True)
    return tuple(t.to(like.dtype) if needed and t is not None else None for t, needed, like in grads)


def _arranged(x: Tensor, y: Tensor, eps: Tensor, cost: Cost, *, wide: bool = False) -> Clouds:
    base = compiled.base_of(cost)
    assert isinstance(base, Base)
    return compiled.arrange(base, x, y, 1 / (float(eps.min()) if eps.ndim else eps.item()), wide=wide)


def _centre(clouds: Clouds) -> Tensor:
    return clouds.y.mean(-2, keepdim=True)


def _value(clouds: Clouds, h: Tensor, eps: Tensor, v: Tensor | None) -> tuple[Tensor, Tensor]:
    h = h.to(clouds.x.dtype) / clouds.factor if clouds.factor != 1 else h
    value, averages = compiled.run("softmin", clouds, scale=_scale(clouds, eps), h=h, v=v)
    return (value * clouds.factor if clouds.factor != 1 else value), value if averages is None else averages


def _gibbs(clouds: Clouds, f: Tensor, h: Tensor, v: Tensor, eps: Tensor, *, slope: bool) -> Tensor:
    """sum_j exp((f_i + h_j - c_ij) / eps) v_j, each term times the slope of u^exponent where asked for."""
    if clouds.factor != 1:
        f, h = (t.to(clouds.x.dtype) / clouds.factor for t in (f, h))
    return compiled.run("gibbs", clouds, scale=_scale(clouds, eps), f=f, h=h, v=v, slope=slope)[0]


def _scale(clouds: Clouds, eps: Tensor) -> Tensor:
    scale = eps.double().reciprocal()
    return scale if clouds.factor == 1 else scale * clouds.factor


def _with_points(weights: Tensor, points: Tensor) -> Tensor:
    return torch.cat([weights.unsqueeze(-1), weights.unsqueeze(-1) * points], -1)
