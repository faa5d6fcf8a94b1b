"""The kernel sum on the compiled kernels: values and first derivatives of plain float32 and float64 tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from howfar import _native, kernels
from howfar.costs import Cost
from howfar.ops import compiled
from howfar.ops.compiled import Base, Clouds, Offsets
from howfar.ops.compiled_sums import Factor, Weighting, of_points
from howfar.ops.precision import cast

_SQUARED = Base("squared")
_MOST_COLUMNS = 64
"""Of weights times points, at once, in the pass for a derivative in the points."""


@dataclass(frozen=True)
class Term:
    """sign profile(u; scale, exponent), a summand of one of the results.

    Attributes:
        base: u, and the exponent that belongs to the profile.
        profile: one of compiled.PROFILES.
        scale: a number, or one for each element of the batch (..., 1, 1).
        sign: a factor on the whole, as `scale`.
        sharp: whether `scale` sets how precise u has to be.
        result: which of the kernels of a stack it belongs to.
    """

    base: Base
    profile: str
    scale: float | Tensor
    sign: float | Tensor = 1.0
    sharp: bool = True
    result: int = 0


Summand = kernels.Kernel | kernels.Stack | Cost
_COMPILED = (
    kernels.Gaussian, kernels.Laplacian, kernels.IMQ, kernels.RationalQuadratic, kernels.Energy, kernels.Polynomial,
    kernels.Linear,
)  # fmt: skip
"""Kernels that are one term whatever their numbers."""


def why_unavailable(summand: Summand, *tensors: Tensor) -> str | None:
    """Why this kernel on these tensors goes another way; None where it can be computed here."""
    if type(summand) not in _COMPILED and isinstance(terms := terms_of(summand, 1), str):
        return terms
    return compiled.why_not_these(*tensors) or _native.why_no_kernels()


def terms_of(summand: Summand, features: int) -> list[Term] | str:
    """The kernel as a sum of calls, or why it is none."""
    if isinstance(summand, Cost):
        base = compiled.base_of(summand)
        return base if isinstance(base, str) else [Term(base, "power", 1.0, sharp=False)]
    if isinstance(summand, kernels.Stack):
        stacked = [terms_of(kernel, features) for kernel in summand.kernels]
        return _joined([t if isinstance(t, str) else [replace(s, result=r) for s in t] for r, t in enumerate(stacked)])
    if type(summand) is kernels.Sum:
        return _joined([terms_of(kernel, features) for kernel in summand.kernels])
    term = _term(summand, features)
    return [term] if term is not None else f"the kernel {summand.name!r} is not one of the compiled ones"


def _joined(parts: list[list[Term] | str]) -> list[Term] | str:
    reason = next((part for part in parts if isinstance(part, str)), None)
    return reason if reason is not None else [t for part in parts if not isinstance(part, str) for t in part]


def _term(kernel: kernels.Kernel, features: int) -> Term | None:
    if type(kernel) is kernels.Gaussian:
        return Term(_SQUARED, "exp", 1 / (2 * kernel.s**2))
    if type(kernel) is kernels.Laplacian:
        return Term(Base("cityblock") if kernel.norm == "cityblock" else Base("squared", 0.5), "exp", 1 / kernel.s)
    if type(kernel) is kernels.IMQ:
        return Term(Base("squared", 0.5), "rational", 1 / kernel.s**2)
    if type(kernel) is kernels.RationalQuadratic:
        return Term(Base("squared", kernel.alpha), "rational", 1 / (2 * kernel.alpha * kernel.s**2))
    if type(kernel) is kernels.Energy:
        return Term(Base("squared", kernel.exponent / 2), "power", 1.0, -1.0, sharp=False)
    if type(kernel) is kernels.Polynomial:
        gamma = 1 / features if kernel.gamma is None else kernel.gamma
        return Term(Base("inner", kernel.degree, kernel.coef), "polynomial", gamma, sharp=False)
    if type(kernel) is kernels.Linear:
        return Term(Base("inner", 1.0, 0.0), "polynomial", 1.0, sharp=False)
    return None


def forward(
    keep: bool,  # noqa: ARG001
    x: Tensor,
    y: Tensor,
    w: Tensor,
    summand: Summand,
    offsets: Offsets | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """sum_j k(x_i, y_j) w_jb: (..., n, B), or (..., K, n, B) of a stack; nothing is kept for the derivative."""
    terms = terms_of(summand, x.shape[-1])
    assert not isinstance(terms, str)
    total: Tensor | None = None
    stacked = isinstance(summand, kernels.Stack)
    for clouds, group in _groups(terms, x, y, offsets):
        part = _stacked(group, clouds, w, terms[-1].result + 1) if stacked else _sums(group, clouds, w)
        part = cast(part, x.dtype)
        total = part if total is None else total + part
    assert total is not None
    return total, ()


def gradient(
    wanted: tuple[bool, ...],
    grad: Tensor,
    inputs: tuple[Tensor, ...],
    summand: Summand,
    offsets: Offsets | None = None,
) -> tuple[Tensor | None, ...] | None:
    """The vector-Jacobian product in x, y and w; None where this kernel has none here."""
    x, y, w = inputs
    terms = terms_of(summand, x.shape[-1])
    assert not isinstance(terms, str)
    in_x, in_y, in_w = wanted
    columns, together = w.shape[-1], _together(x)
    many = columns > 2 * together and offsets is None
    if (in_x or in_y) and many and any(map(_goes_by_column, terms)):
        return None
    totals: list[Tensor | None] = [None, None, None]
    stacked = isinstance(summand, kernels.Stack)
    for result in range(terms[-1].result + 1):
        own = [replace(term, result=0) for term in terms if term.result == result]
        pull = grad[..., result, :, :] if stacked else grad
        slopes: dict[bool, list[Term]] = {}
        for clouds, group in _groups(own, x, y, offsets):
            if in_w:
                _add(totals, 2, _sums(group, clouds.swapped(), pull))
            for term in group if in_x or in_y else ():
                # Steep slopes beside coincident points, and points far apart for the width, cancel beyond float32.
                wide = term.base.kind == "squared" and (not clouds.gentle or term.base.exponent != 1)
                shared = columns == 1 or (columns <= together and len(own) > 1)
                if term.base.radial and (shared or term.profile == "rational"):
                    slopes.setdefault(wide, []).append(_slope(term))
                    continue
                single = _arranged(term, x, y, offsets, wide=wide)
                pulled = _pull_of_products if term.base.kind == "inner" else _pull_of_weights
                if in_x:
                    _add(totals, 0, pulled(term, single, x, w, pull))
                if in_y:
                    _add(totals, 1, pulled(term, single.swapped(), y, pull, w))
        for wide, of_width in slopes.items():
            for clouds, group in _groups(of_width, x, y, offsets, wide=wide):
                if in_x:
                    _add(totals, 0, _pull(group, clouds, w, pull))
                if in_y:
                    _add(totals, 1, _pull(group, clouds.swapped(), pull, w))
    return tuple(t.to(like.dtype) if t is not None else None for t, like in zip(totals, inputs, strict=True))


def _goes_by_column(term: Term) -> bool:
    """Whether its derivative in the points takes sums for every column of weights."""
    return term.profile == "rational" or (term.profile == "polynomial" and term.base.exponent > 1)


def _add(totals: list[Tensor | None], place: int, part: Tensor) -> None:
    before = totals[place]
    totals[place] = part if before is None else before + part


def _slope(term: Term) -> Term:
    """2 d/du of a radial term, so that the derivative in x is slope (x - y)."""
    e = term.base.exponent
    if term.profile == "exp":
        profile = "exp" if e == 1 else "exp_slope"
        return replace(term, profile=profile, sign=-2 * e * term.scale * term.sign)
    if term.profile == "rational":
        return replace(term, base=replace(term.base, exponent=e + 1), sign=-2 * e * term.scale * term.sign)
    factor = 2 * e * term.sign * term.base.factor
    return replace(term, base=replace(term.base, exponent=e - 1, factor=1.0), sign=factor)


def _together(points: Tensor) -> int:
    """Columns of weights that are multiplied by the points at once."""
    return max(1, _MOST_COLUMNS // (points.shape[-1] + 1))


def _pull(slopes: list[Term], clouds: Clouds, w: Tensor, grad: Tensor) -> Tensor:
    """sum_b grad_ib sum_j slope(u_ij) w_jb (x_i - y_j), all terms in one pass."""
    centre = clouds.y.mean(-2, keepdim=True)
    rows, columns = (clouds.x - centre) * clouds.unit, (clouds.y - centre) * clouds.unit
    points = torch.cat([torch.ones_like(columns[..., :1]), columns], -1)
    total = torch.zeros_like(rows)
    for of_w, of_grad in zip(*(t.to(rows.dtype).split(_together(rows), -1) for t in (w, grad)), strict=True):
        with_points = of_w.unsqueeze(-1) * points.unsqueeze(-2)
        sums = _sums(slopes, clouds, with_points.flatten(-2)).unflatten(-1, with_points.shape[-2:])
        total += (of_grad.unsqueeze(-1) * (rows.unsqueeze(-2) * sums[..., :1] - sums[..., 1:])).sum(-2)
    return total


def _pull_of_weights(term: Term, clouds: Clouds, x: Tensor, w: Tensor, grad: Tensor) -> Tensor:
    """sum_j <grad_i, w_j> dk(x_i, y_j) / dx_i of exp(-s c) or of c itself, as of a plan of those weights."""
    scale = term.scale if term.profile == "exp" else 0.0
    outer = -scale * term.sign if term.profile == "exp" else term.sign
    rate = scale[..., 0, 0] if isinstance(scale, Tensor) else torch.tensor(scale, dtype=torch.float64)
    dtype = clouds.x.dtype
    batch = clouds.x.shape[:-2] if clouds.offsets is None else (len(clouds.offsets[0]) - 1,)
    f, h = (clouds.x.new_zeros(points.shape[:-1]) for points in (clouds.x, clouds.y))
    factor = Factor((grad * outer).to(dtype), w.to(dtype))
    weighting = Weighting(clouds, f, h, rate.double().reciprocal().expand(batch), factor)
    return of_points(term.base, weighting, x, torch.ones_like(f), torch.ones_like(h))[1]


def _pull_of_products(term: Term, clouds: Clouds, x: Tensor, w: Tensor, grad: Tensor) -> Tensor:  # noqa: ARG001
    """sum_j <grad_i, w_j> dk(x_i, y_j) / dx_i of (s <x_i, y_j> + c)^e, a sum of the y_j."""
    y, e = clouds.y, term.base.exponent
    w, grad = w.to(y.dtype), grad.to(y.dtype)
    if e == 1:
        total = _product_of_problems(grad, w, y, clouds.offsets)
    else:
        slope = replace(term, base=replace(term.base, exponent=e - 1), sign=1.0)
        total = torch.zeros_like(clouds.x)
        for of_w, of_grad in zip(*(t.split(_together(y), -1) for t in (w, grad)), strict=True):
            with_points = (of_w.unsqueeze(-1) * y.unsqueeze(-2)).flatten(-2)
            sums = _sums([slope], clouds, with_points).unflatten(-1, (of_w.shape[-1], -1))
            total += (of_grad.unsqueeze(-1) * sums).sum(-2)
    pulled: Tensor = total * (e * term.scale * term.sign)
    return pulled


def _product_of_problems(grad: Tensor, w: Tensor, y: Tensor, offsets: Offsets | None) -> Tensor:
    """grad w^T y."""
    if offsets is None:
        return grad @ (w.mT @ y)
    rows, columns = (side.diff().tolist() for side in offsets)
    parts = zip(grad.split(rows), w.split(columns), y.split(columns), strict=True)
    return torch.cat([g @ (v.mT @ points) for g, v, points in parts])


def _arranged(term: Term, x: Tensor, y: Tensor, offsets: Offsets | None, *, wide: bool) -> Clouds:
    if term.base.kind == "inner":
        # As everywhere in the house, inner products are summed in float64.
        return compiled.arrange(term.base, x, y, None, wide=True, offsets=offsets)
    sharpness = None
    base = term.base
    if term.sharp:
        scale = term.scale
        sharpness = float(scale.amax()) if isinstance(scale, Tensor) else scale
        if term.profile == "rational":
            # The exponent is outside of u here.
            base = replace(base, exponent=1.0)
    return compiled.arrange(base, x, y, sharpness, wide=wide, offsets=offsets)


def _groups(
    terms: list[Term], x: Tensor, y: Tensor, offsets: Offsets | None, *, wide: bool = False
) -> list[tuple[Clouds, list[Term]]]:
    """The terms by what they share: one base quantity in one precision, in the form that the most delicate of them needs."""
    if len(terms) == 1:
        return [(_arranged(terms[0], x, y, offsets, wide=wide), terms)]
    found: dict[object, tuple[Clouds, list[Term]]] = {}
    for term in terms:
        clouds = _arranged(term, x, y, offsets, wide=wide)
        shared = term.base.kind in ("squared", "cityblock") and clouds.unit == 1
        key = (term.base.kind, term.base.directions, clouds.x.dtype) if shared else len(found)
        if key in found:
            before, group = found[key]
            form = clouds.form if before.form == clouds.form else "difference"
            found[key] = (replace(before, form=form, gentle=before.gentle and clouds.gentle), [*group, term])
        else:
            found[key] = (clouds, [term])
    return list(found.values())


def _stacked(terms: list[Term], clouds: Clouds, w: Tensor, count: int) -> Tensor:
    """(..., count, n, B): zero where a result has no term."""
    results = sorted({term.result for term in terms})
    out = _sums([replace(term, result=results.index(term.result)) for term in terms], clouds, w)
    out = out.movedim(-2, -3) if len(results) > 1 else out.unsqueeze(-3)
    if len(results) == count:
        return out
    every = out.new_zeros(*out.shape[:-3], count, *out.shape[-2:])
    every[..., results, :, :] = out
    return every


def _sums(terms: list[Term], clouds: Clouds, w: Tensor) -> Tensor:
    """(..., n, B), or (..., n, results, B) of several results: every term in one pass."""
    batch = clouds.x.shape[:-2]
    parts = [compiled.Part(term.profile, term.base.exponent, term.result) for term in terms]
    scale = _side_by_side([term.scale for term in terms], batch)
    factor = _side_by_side([term.sign * clouds.factor for term in terms], batch)
    return compiled.run("kernel_sum", clouds, scale=scale, factor=factor, v=w, parts=parts)[0]


def _side_by_side(values: list[float | Tensor], batch: torch.Size) -> compiled.Numbers:
    """Numbers as they are, or with tensors (..., 1, 1) among them one tensor (..., K)."""
    numbers = [value for value in values if not isinstance(value, Tensor)]
    if len(numbers) == len(values):
        return numbers
    flat = [
        value[..., 0, 0] if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64) for value in values
    ]
    return torch.stack([value.double().expand(batch) for value in flat], -1)
