"""The soft minimum on the compiled kernels: values, averages and first derivatives of plain float32 and float64 tensors."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from howfar import _native
from howfar.costs import Cost
from howfar.ops import compiled
from howfar.ops.compiled import Base, Clouds, Offsets
from howfar.ops.compiled_sums import Factor, Weighting, of_points
from howfar.ops.precision import cast

Kept = tuple[Tensor, ...]


def why_unavailable(cost: Cost, *tensors: Tensor) -> str | None:
    """Why this cost on these tensors goes another way; None where it can be computed here."""
    base = compiled.base_of(cost)
    if isinstance(base, str):
        return base
    return compiled.why_not_these(*tensors) or _native.why_no_kernels()


def softmin(x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: Cost, offsets: Offsets | None = None) -> Tensor:
    """-eps log sum_j exp((h_j - c(x_i, y_j)) / eps): (..., n)."""
    return _value(_arranged(x, y, eps, cost, offsets), h, eps, None)[0].to(x.dtype)


def softmin_apply(
    x: Tensor, y: Tensor, h: Tensor, v: Tensor, eps: Tensor, cost: Cost, offsets: Offsets | None = None
) -> Tensor:
    """(..., n, 1 + q): the soft minimum, then the averages of v."""
    value, averages = _value(_arranged(x, y, eps, cost, offsets), h, eps, v)
    return torch.cat([value.unsqueeze(-1), averages], -1).to(x.dtype)


def softmin_cost(x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: Cost, offsets: Offsets | None = None) -> Tensor:
    """(..., n): the average of the cost. A square has it from those of y and |y|^2, whose difference float64 can take."""
    base = compiled.base_of(cost)
    clouds = _arranged(x, y, eps, cost, offsets, wide=True)
    if isinstance(base, str) or base.kind != "squared" or base.exponent != 1:
        value = _value(clouds, h, eps, None)[0]
        return _average_cost(Weighting(clouds, value, h, eps)).to(x.dtype)
    centre = clouds.y.mean(-2, keepdim=True)
    rows, columns = clouds.x - centre, clouds.y - centre
    values = torch.cat([columns, columns.square().sum(-1, keepdim=True)], -1)
    averages = _value(clouds, h, eps, values)[1]
    cross = (rows * averages[..., :-1]).sum(-1)
    total = rows.square().sum(-1) - 2 * cross + averages[..., -1]
    return (clouds.factor * total).clamp_min(0).to(x.dtype)


def forward(
    keep: bool, x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: Cost, offsets: Offsets | None = None
) -> tuple[Tensor, Kept]:
    """The soft minimum, and what its derivative can use of this pass."""
    clouds = _arranged(x, y, eps, cost, offsets)
    if not (keep and clouds.gentle):
        return cast(_value(clouds, h, eps, None)[0], x.dtype), ()
    value, averages = _value(clouds, h, eps, clouds.y - _centre(clouds))
    return value.to(x.dtype), (value, averages)


def gradient(
    wanted: tuple[bool, ...],
    grad: Tensor,
    inputs: tuple[Tensor, ...],
    kept: Kept,
    eps: Tensor,
    cost: Cost,
    offsets: Offsets | None = None,
) -> tuple[Tensor | None, ...]:
    """The vector-Jacobian product of `softmin` in x, y and h; None where it is not wanted."""
    base = compiled.base_of(cost)
    assert isinstance(base, Base)
    in_x, in_y, in_h = wanted
    if not base.radial:
        x, y, h = inputs
        clouds = _arranged(x, y, eps, cost, offsets, wide=True)
        weighting = Weighting(clouds, _value(clouds, h, eps, None)[0], h, eps)
        return _pulled(wanted, base, weighting, grad, inputs)
    x, y, h = inputs
    clouds = _arranged(x, y, eps, cost, offsets, wide=not kept)
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


def gradient_apply(
    wanted: tuple[bool, ...],
    grad: Tensor,
    inputs: tuple[Tensor, ...],
    eps: Tensor,
    cost: Cost,
    offsets: Offsets | None = None,
) -> tuple[Tensor | None, ...]:
    """The vector-Jacobian product of `softmin_apply` in x, y, h and v; None where it is not wanted."""
    base = compiled.base_of(cost)
    assert isinstance(base, Base)
    x, y, h, v = inputs
    clouds = _arranged(x, y, eps, cost, offsets, wide=True)
    # An offset of the values moves no weight and would take digits from the factor.
    v = v.to(clouds.x.dtype)
    v = v - v.mean(-2, keepdim=True)
    value, averages = _value(clouds, h, eps, v)
    own, of_averages = grad[..., 0].to(value.dtype), grad[..., 1:].to(value.dtype)
    sharp = of_averages / clouds.per_row(eps.to(value.dtype)).unsqueeze(-1)
    left = torch.cat([(own + (sharp * averages).sum(-1)).unsqueeze(-1), -sharp], -1)
    factor = Factor(left, torch.cat([torch.ones_like(v[..., :1]), v], -1))
    weighting = Weighting(clouds, value, h, eps, factor)
    by_v = None
    if wanted[3]:
        by_v = replace(weighting, factor=Factor()).swapped().sums(of_averages).to(v.dtype)
    return *_pulled(wanted[:3], base, weighting, torch.ones_like(value), inputs), by_v


def gradient_cost(
    wanted: tuple[bool, ...],
    grad: Tensor,
    inputs: tuple[Tensor, ...],
    eps: Tensor,
    cost: Cost,
    offsets: Offsets | None = None,
) -> tuple[Tensor | None, ...]:
    """The vector-Jacobian product of `softmin_cost` in x, y and h; None where it is not wanted."""
    base = compiled.base_of(cost)
    assert isinstance(base, Base)
    x, y, h = inputs
    clouds = _arranged(x, y, eps, cost, offsets, wide=True)
    weighting = Weighting(clouds, _value(clouds, h, eps, None)[0], h, eps)
    average = _average_cost(weighting) / clouds.per_row(eps.double())
    above = Factor(average.unsqueeze(-1), torch.ones_like(h, dtype=average.dtype).unsqueeze(-1), tilted=True)
    in_points = replace(above, left=1 + average.unsqueeze(-1))
    by_x, by_y, _ = _pulled((*wanted[:2], False), base, replace(weighting, factor=in_points), grad, inputs)
    by_h = _pulled((False, False, wanted[2]), base, replace(weighting, factor=above), grad, inputs)[2]
    return by_x, by_y, by_h


def _average_cost(weighting: Weighting) -> Tensor:
    """sum_j p_ij c_ij: (..., n)."""
    tilted = replace(weighting, factor=Factor(tilted=True))
    ones = torch.ones_like(weighting.h, dtype=weighting.clouds.x.dtype).unsqueeze(-1)
    return -weighting.clouds.per_row(weighting.eps.double()) * tilted.sums(ones).squeeze(-1)


def _pulled(
    wanted: tuple[bool, ...], base: Base, weighting: Weighting, grad: Tensor, inputs: tuple[Tensor, ...]
) -> tuple[Tensor | None, ...]:
    """sum_ij grad_i w_ij (dc_ij - dh_j) in x, y and h."""
    x, y, h = inputs[:3]
    grad = grad.to(weighting.clouds.x.dtype)
    ones = torch.ones_like(h, dtype=grad.dtype)
    by_x = by_y = by_h = None
    if wanted[0]:
        by_x = of_points(base, weighting, x, grad, ones).to(x.dtype)
    if wanted[1]:
        by_y = of_points(base, weighting.swapped(), y, ones, grad).to(y.dtype)
    if wanted[2]:
        by_h = -weighting.swapped().sums(grad.unsqueeze(-1)).squeeze(-1).to(h.dtype)
    return by_x, by_y, by_h


def _arranged(x: Tensor, y: Tensor, eps: Tensor, cost: Cost, offsets: Offsets | None, *, wide: bool = False) -> Clouds:
    base = compiled.base_of(cost)
    assert isinstance(base, Base)
    sharpness = 1 / (float(eps.min()) if eps.ndim else eps.item())
    return compiled.arrange(base, x, y, sharpness, wide=wide, offsets=offsets)


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


def _scale(clouds: Clouds, eps: Tensor) -> compiled.Numbers:
    if not eps.ndim:
        return (1 / eps.item() * clouds.factor,)
    scale = eps.double().reciprocal()
    return scale if clouds.factor == 1 else scale * clouds.factor


def _with_points(weights: Tensor, points: Tensor) -> Tensor:
    return torch.cat([weights.unsqueeze(-1), weights.unsqueeze(-1) * points], -1)
