"""The kernel sum on the compiled kernels: values and first derivatives of plain float32 and float64 tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from howfar import _native, kernels
from howfar.costs import Cost
from howfar.ops import compiled
from howfar.ops.compiled import Base, Clouds
from howfar.ops.precision import cast

_SQUARED = Base("squared")
_MOST_COLUMNS = 64
"""Of values in the pass for a derivative in the points: beyond, the streamed matrix products are as good."""


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
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """sum_j k(x_i, y_j) w_jb: (..., n, B), or (..., K, n, B) of a stack; nothing is kept for the derivative."""
    terms = terms_of(summand, x.shape[-1])
    assert not isinstance(terms, str)
    total: Tensor | None = None
    stacked = isinstance(summand, kernels.Stack)
    for clouds, group in _groups(terms, x, y, wide=False):
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
) -> tuple[Tensor | None, ...] | None:
    """The vector-Jacobian product in x, y and w; None where this kernel has none here."""
    x, y, w = inputs
    terms = terms_of(summand, x.shape[-1])
    assert not isinstance(terms, str)
    in_x, in_y, in_w = wanted
    wide_enough = w.shape[-1] * (x.shape[-1] + 1) <= _MOST_COLUMNS
    if (in_x or in_y) and not (wide_enough and all(term.base.radial for term in terms)):
        return None
    totals: list[Tensor | None] = [None, None, None]
    stacked = isinstance(summand, kernels.Stack)
    for result in range(terms[-1].result + 1):
        own = [replace(term, result=0) for term in terms if term.result == result]
        pull = grad[..., result, :, :] if stacked else grad
        slopes: dict[bool, list[Term]] = {}
        for clouds, group in _groups(own, x, y, wide=False):
            if in_w:
                _add(totals, 2, _sums(group, clouds.swapped(), pull))
            for term in group:
                # Steep slopes beside coincident points, and points far apart for the width, cancel beyond float32.
                wide = not clouds.gentle or term.base.exponent != 1
                slopes.setdefault(wide, []).append(_slope(term))
        for wide, of_width in slopes.items() if in_x or in_y else ():
            for clouds, group in _groups(of_width, x, y, wide=wide):
                if in_x:
                    _add(totals, 0, _pull(group, clouds, w, pull))
                if in_y:
                    _add(totals, 1, _pull(group, clouds.swapped(), pull, w))
    return tuple(t.to(like.dtype) if t is not None else None for t, like in zip(totals, inputs, strict=True))


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


def _pull(slopes: list[Term], clouds: Clouds, w: Tensor, grad: Tensor) -> Tensor:
    """sum_b grad_ib sum_j slope(u_ij) w_jb (x_i - y_j)."""
    centre = clouds.y.mean(-2, keepdim=True)
    rows, columns = (clouds.x - centre) * clouds.unit, (clouds.y - centre) * clouds.unit
    w, grad = w.to(rows.dtype), grad.to(rows.dtype)
    with_points = w.unsqueeze(-1) * torch.cat([torch.ones_like(columns[..., :1]), columns], -1).unsqueeze(-2)
    sums = _sums(slopes, clouds, with_points.flatten(-2)).unflatten(-1, with_points.shape[-2:])
    pulls: Tensor = grad.unsqueeze(-1) * (rows.unsqueeze(-2) * sums[..., :1] - sums[..., 1:])
    return pulls.sum(-2)


def _arranged(term: Term, x: Tensor, y: Tensor, *, wide: bool) -> Clouds:
    if term.base.kind == "inner":
        # As everywhere in the house, inner products are summed in float64.
        return compiled.arrange(term.base, x, y, None, wide=True)
    sharpness = None
    base = term.base
    if term.sharp:
        scale = term.scale
        sharpness = float(scale.amax()) if isinstance(scale, Tensor) else scale
        if term.profile == "rational":
            # The exponent is outside of u here.
            base = replace(base, exponent=1.0)
    return compiled.arrange(base, x, y, sharpness, wide=wide)


def _groups(terms: list[Term], x: Tensor, y: Tensor, *, wide: bool) -> list[tuple[Clouds, list[Term]]]:
    """The terms by what they share: one base quantity in one precision, in the form that the most delicate of them needs."""
    if len(terms) == 1:
        return [(_arranged(terms[0], x, y, wide=wide), terms)]
    found: dict[object, tuple[Clouds, list[Term]]] = {}
    for term in terms:
        clouds = _arranged(term, x, y, wide=wide)
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
