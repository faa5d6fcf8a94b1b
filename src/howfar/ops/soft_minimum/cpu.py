"""The soft minimum on the compiled kernels: values, averages and first derivatives of plain float32 and float64 tensors."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from howfar import _native
from howfar.costs import Cost
from howfar.ops import compiled
from howfar.ops.compiled import Base, Clouds, Offsets
from howfar.ops.compiled_sums import Factor, Weighting, of_points

Kept = tuple[Tensor, ...]

_MOST_MISSED = 64.0
"""What a weight may miss in its exponent: half of those that float32 has, so that nothing that counts is lost on the way."""


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
    keep: int, x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: Cost, offsets: Offsets | None = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The soft minimum, and of the same pass `keep` numbers (..., n, keep) that its derivative can use.

    They are, where keep is 1 + d, its slope in x, and last what a weight exp((h_j + value_i - c_ij) / eps) misses in the
    base-2 exponent because the value is rounded.
    """
    base = compiled.base_of(cost)
    assert isinstance(base, Base)
    clouds = _arranged(x, y, eps, cost, offsets)
    scale = _scale(clouds, eps)
    found, kept = compiled.run(
        "softmin", clouds, scale=scale, h=_in_units(clouds, h), pull=keep > 1, slope=base.exponent != 1, rest=keep > 0
    )
    value = (found * clouds.factor if clouds.factor != 1 else found).to(x.dtype)
    if kept is None:
        return value, ()
    if base.directions or clouds.factor != 1 or clouds.unit != 1 or kept.dtype != x.dtype:
        slope, rest = kept[..., :-1] * (clouds.factor / clouds.unit), kept[..., -1:]
        if base.directions and keep > 1:
            slope = compiled.through_directions(x, slope)
        k = clouds.per_row(torch.as_tensor(scale, dtype=torch.float64).reshape(eps.shape) * math.log2(math.e))
        k = k.to(found.dtype)
        again = _in_units(clouds, value.to(found.dtype))
        rest = rest + ((k * found).double() - (k * again).double()).unsqueeze(-1)
        kept = torch.cat([slope, rest], -1).to(x.dtype)
    return value, (kept,)


def gradient(
    wanted: tuple[bool, ...],
    grad: Tensor,
    inputs: tuple[Tensor, ...],
    kept: Kept,
    eps: Tensor,
    cost: Cost,
    offsets: Offsets | None = None,
) -> tuple[Tensor | None, ...]:
    """The vector-Jacobian product of `softmin` in x, y and h; None where it is not wanted.

    Args:
        wanted: in x, y and h.
        grad: (..., n).
        inputs: x, y and h.
        kept: the value and what `forward` kept with it; nothing where that has to be done again.
        eps: (...).
        cost: the ground cost.
        offsets: of a ragged batch.
    """
    x, y, h = inputs
    base = compiled.base_of(cost)
    assert isinstance(base, Base)
    columns = 1 + x.shape[-1] if wanted[0] else 1
    if not kept or kept[1].shape[-1] < columns or not kept[1][..., -1].abs().amax() <= _MOST_MISSED:
        # So cold that the rounding of a float32 value is beyond its exponents; or nothing was kept.
        x, y, h = x.double(), y.double(), h.double()
        value, beside = forward(columns, x, y, h, eps, cost, offsets)
        kept = value, *beside
    value, last = kept
    grad = grad.to(last.dtype)
    by_x = (grad.unsqueeze(-1) * last[..., :-1]).to(inputs[0].dtype) if wanted[0] else None
    if not any(wanted[1:]):
        return by_x, None, None
    weighting = Weighting(_arranged(x, y, eps, cost, offsets), value, h, eps)
    normalised = grad * torch.exp2(last[..., -1].clamp(-_MOST_MISSED, _MOST_MISSED))
    return by_x, *_pulled((False, *wanted[1:]), base, weighting, normalised, inputs)[1:]


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
    by_x = by_y = sums = None
    if wanted[0]:
        by_x = of_points(base, weighting, x, grad, ones)[1].to(x.dtype)
    if wanted[1]:
        sums, by_y = of_points(base, weighting.swapped(), y, ones, grad)
        by_y = by_y.to(y.dtype)
    if wanted[2] and sums is None:
        sums = weighting.swapped().sums(grad.unsqueeze(-1)).squeeze(-1)
    return by_x, by_y, -sums.to(h.dtype) if sums is not None and wanted[2] else None


def _arranged(x: Tensor, y: Tensor, eps: Tensor, cost: Cost, offsets: Offsets | None, *, wide: bool = False) -> Clouds:
    base = compiled.base_of(cost)
    assert isinstance(base, Base)
    sharpness = 1 / (float(eps.min()) if eps.ndim else eps.item())
    return compiled.arrange(base, x, y, sharpness, wide=wide, offsets=offsets)


def _value(clouds: Clouds, h: Tensor, eps: Tensor, v: Tensor | None) -> tuple[Tensor, Tensor]:
    value, averages = compiled.run("softmin", clouds, scale=_scale(clouds, eps), h=_in_units(clouds, h), v=v)
    return (value * clouds.factor if clouds.factor != 1 else value), value if averages is None else averages


def _in_units(clouds: Clouds, h: Tensor) -> Tensor:
    return h.to(clouds.x.dtype) / clouds.factor if clouds.factor != 1 else h


def _scale(clouds: Clouds, eps: Tensor) -> compiled.Numbers:
    if not eps.ndim:
        return (1 / eps.item() * clouds.factor,)
    scale = eps.double().reciprocal()
    return scale if clouds.factor == 1 else scale * clouds.factor
