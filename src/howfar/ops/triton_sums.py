"""Sums over all pairs on a GPU: sum_j k(u_ij) w_j for many columns w, and the gradient of such a sum in the rows.

k is a profile of the base quantity u: a kernel of `howfar.kernels`, a cost, or "gibbs", the plan
2^(r_i + c_j - s u^e) of two potentials in base 2. Derivatives of every op are these two sums.
"""

# Of an `if` over a constant Triton compiles one branch: the other has to be an `else`, and the `if` its own.
# ruff: noqa: RET505, SIM102
# The arguments of a kernel are values of Triton's own.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from howfar.ops import triton_tiles as tiles
from howfar.ops.triton_tiles import (
    Form,
    Pair,
    add_columns,
    any_power,
    difference_tile,
    power,
    product_tile,
    times_slope,
)

_LN2: tl.constexpr = tl.constexpr(0.6931471805599453)


@dataclass(frozen=True)
class Profile:
    """k(u), summed over terms (scale s, exponent e, offset o) of one name.

    "gibbs": 2^(r_i + c_j - s u^e). "exponential": 2^(-s u^e). "rational": (1 + s u)^-e. "power": s u^e.
    "polynomial": (s u + o)^degree.
    """

    name: str
    form: Form
    terms: Sequence[tuple[float | Tensor, float, float]]
    guard: Tensor | None = None
    """(batch,): how fast log2 k changes with u; products of points are for those that have it, or for inner ones."""
    degree: int = 1

    def meta(self) -> dict[str, Any]:
        """The compile-time arguments."""
        exponent = self.terms[0][1]
        return {
            "PROFILE": self.name,
            "KIND": tiles.kind_of(exponent),
            "TERMS": len(self.terms),
            "DEGREE": self.degree,
        }


def weighted(
    pair: Pair, profile: Profile, w: Tensor, row_term: Tensor | None = None, column_term: Tensor | None = None
) -> Tensor:
    """sum_j k(u_ij) w_j: (batch, n, q), for w (batch or 1, m, q); the terms are r (batch, n) and c (batch, m)."""
    n, m, q = pair.x.n, pair.y.n, w.shape[-1]
    few, bq = tiles.columns_of(q)
    chunks = -(-q // bq)
    w = w.contiguous()
    parts, span = tiles.split(pair, chunks)
    out = w.new_empty(parts, pair.batch, n, q)
    params = tiles.parameters(pair.batch, profile.terms, w)
    for product, guard, coarse in tiles.passes(pair, profile.guard):
        rows, columns = _terms(pair, profile, product, row_term, column_term)
        meta = {**pair.meta(product, second=not few), **profile.meta(), "GUARD": guard, "BQ": bq, "FEW": few}
        blocks = -(-n // meta["BM"])
        tiles.launch(
            _weighted,
            (pair.batch * blocks, chunks, parts),
            (
                *(pair.x.data, pair.y.data, rows, columns, w, params, coarse, out),
                *(n, m, pair.x.d, q, pair.x.row, pair.y.row, pair.x.step, pair.y.step),
                *(tiles.step(rows), tiles.step(columns), tiles.step(w), blocks, span, pair.batch),
            ),
            meta,
        )
    return out[0] if parts == 1 else out.sum(0)


def gradient(
    pair: Pair,
    profile: Profile,
    left: Tensor,  # (batch or 1, n, q)
    right: Tensor,  # (batch or 1, m, q)
    row_term: Tensor | None = None,
    column_term: Tensor | None = None,
) -> Tensor:  # (batch, n, d)
    """sum_j <left_i, right_j> dk(u_ij)/dx_i; for "gibbs" of p_ij du_ij^e/dx_i, which is what a cost does to a plan."""
    n, m, d, q = pair.x.n, pair.y.n, pair.x.d, left.shape[-1]
    few, bq = tiles.columns_of(q)
    bq = min(bq, 32)
    left, right = left.contiguous(), right.contiguous()
    parts, span = tiles.split(pair, 1)
    # Every number of it has one program that adds to it, so the result does not depend on the order of programs.
    out = left.new_zeros(parts, pair.batch, d, pair.x.row)
    params = tiles.parameters(pair.batch, profile.terms, left)
    for product, guard, coarse in tiles.passes(pair, profile.guard):
        rows, columns = _terms(pair, profile, product, row_term, column_term)
        second = product or not few
        meta = {**pair.meta(product, second=second), **profile.meta(), "GUARD": guard, "BQ": bq, "FEW": few}
        blocks = -(-n // meta["BM"])
        tiles.launch(
            _gradient,
            (pair.batch * blocks, 1, parts),
            (
                *(pair.x.data, pair.y.data, rows, columns, left, right, params, coarse, out),
                *(n, m, d, q, pair.x.row, pair.y.row, pair.x.step, pair.y.step),
                *(tiles.step(rows), tiles.step(columns), tiles.step(left), tiles.step(right)),
                *(blocks, span, pair.batch),
            ),
            meta,
        )
    return (out[0] if parts == 1 else out.sum(0))[..., :n].mT


def _terms(
    pair: Pair, profile: Profile, product: bool, row_term: Tensor | None, column_term: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What is added to a row and to a column of a tile, padded: potentials, squared norms, or both."""
    x, y = pair.x, pair.y
    if row_term is None or column_term is None:
        return x.norms, y.norms
    if product:
        scale = profile.terms[0][0]
        assert isinstance(scale, Tensor)
        row_term = row_term - scale[:, None] * x.norms[:, : x.n]
        column_term = column_term - scale[:, None] * y.norms[:, : y.n]
    return tiles.padded(row_term, x.row, -torch.inf).contiguous(), tiles.padded(
        column_term, y.row, -torch.inf
    ).contiguous()


@triton.jit
def _base(
    x, y, row_term, column_term, rows, columns, d, x_row, y_row, p,
    BASE: tl.constexpr, PROFILE: tl.constexpr, PRODUCT: tl.constexpr, PRECISION: tl.constexpr,
    D: tl.constexpr, BK: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """u of a tile; for a plan of products the inner products, as its potentials hold the norms."""
    if PRODUCT:
        inner = product_tile(x, y, rows, columns, d, x_row, y_row, PRECISION, D, BK, BM, BN)
        if BASE == "inner" or PROFILE == "gibbs":
            return inner
        else:
            return tl.maximum(row_term[None, :] + column_term[:, None] - 2 * inner, 0.0)
    else:
        return difference_tile(x, y, rows, columns, d, x_row, y_row, p, BASE, D, BM, BN)


@triton.jit
def _plan(u, row_term, column_term, scale, exponent, PRODUCT: tl.constexpr, KIND: tl.constexpr):
    potentials = row_term[None, :] + column_term[:, None]
    if PRODUCT:
        return tl.exp2(potentials + 2 * scale * u)
    else:
        return tl.exp2(potentials - scale * power(u, exponent, KIND))


@triton.jit
def _rational(base, exponent, KIND: tl.constexpr):
    if KIND == "one":
        return 1.0 / base
    elif KIND == "half":
        return 1.0 / tl.sqrt(base)
    else:
        return tl.exp2(-exponent * tl.log2(base))


@triton.jit
def _values(
    u, row_term, column_term, params,
    PROFILE: tl.constexpr, PRODUCT: tl.constexpr, KIND: tl.constexpr, TERMS: tl.constexpr, DEGREE: tl.constexpr,
):  # fmt: skip
    """k(u) of a tile."""
    if PROFILE == "gibbs":
        return _plan(u, row_term, column_term, tl.load(params), tl.load(params + 1), PRODUCT, KIND)
    else:
        total = tl.zeros_like(u)
        for t in tl.static_range(TERMS):
            scale = tl.load(params + 3 * t)
            exponent = tl.load(params + 3 * t + 1)
            if PROFILE == "exponential":
                total += tl.exp2(-scale * power(u, exponent, KIND))
            elif PROFILE == "rational":
                total += _rational(1.0 + scale * u, exponent, KIND)
            elif PROFILE == "power":
                total += scale * power(u, exponent, KIND)
            else:
                line = scale * u + tl.load(params + 3 * t + 2)
                raised = line
                for _ in tl.static_range(DEGREE - 1):
                    raised *= line
                total += raised
        return total


@triton.jit
def _slopes(
    u, row_term, column_term, params,
    PROFILE: tl.constexpr, PRODUCT: tl.constexpr, KIND: tl.constexpr, TERMS: tl.constexpr, DEGREE: tl.constexpr,
):  # fmt: skip
    """dk/du of a tile, and p du^e/du of a plan."""
    if PROFILE == "gibbs":
        exponent = tl.load(params + 1)
        weight = _plan(u, row_term, column_term, tl.load(params), exponent, PRODUCT, KIND)
        return times_slope(weight, u, exponent, KIND)
    else:
        total = tl.zeros_like(u)
        for t in tl.static_range(TERMS):
            scale = tl.load(params + 3 * t)
            exponent = tl.load(params + 3 * t + 1)
            if PROFILE == "exponential":
                weight = -_LN2 * scale * tl.exp2(-scale * power(u, exponent, KIND))
                total += times_slope(weight, u, exponent, KIND)
            elif PROFILE == "rational":
                base = 1.0 + scale * u
                total -= exponent * scale * _rational(base, exponent, KIND) / base
            elif PROFILE == "power":
                total += times_slope(scale + tl.zeros_like(u), u, exponent, KIND)
            else:
                line = scale * u + tl.load(params + 3 * t + 2)
                raised = DEGREE * scale + tl.zeros_like(u)
                for _ in tl.static_range(DEGREE - 1):
                    raised *= line
                total += raised
        return total


@triton.jit
def _weighted(
    x, y, row_terms, column_terms, w, params, coarse, out,
    n, m, d, q, x_row, y_row, x_step, y_step, row_step, column_step, w_step, blocks, span, batch,
    BASE: tl.constexpr, D: tl.constexpr, BK: tl.constexpr, PRODUCT: tl.constexpr, GUARD: tl.constexpr,
    PROFILE: tl.constexpr, KIND: tl.constexpr, TERMS: tl.constexpr, DEGREE: tl.constexpr, PRECISION: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BQ: tl.constexpr, FEW: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    element = (program // blocks).to(tl.int64)
    if GUARD >= 0:
        if tl.load(coarse + element) != GUARD:
            return
    rows = (program % blocks) * BM + tl.arange(0, BM)
    first = tl.program_id(1) * BQ
    part = tl.program_id(2)
    x += element * x_step
    y += element * y_step
    w += element * w_step
    params += element * 3 * TERMS
    column_terms += element * column_step
    row_term = tl.load(row_terms + element * row_step + rows)
    p = tl.load(params + 2)

    total = tl.zeros([BQ, BM], x.dtype.element_ty)
    for start in range(part * span, tl.minimum((part + 1) * span, m), BN):
        columns = start + tl.arange(0, BN)
        column_term = tl.load(column_terms + columns)
        u = _base(x, y, row_term, column_term, rows, columns, d, x_row, y_row, p, BASE, PROFILE, PRODUCT, PRECISION,
                  D, BK, BM, BN)  # fmt: skip
        weight = _values(u, row_term, column_term, params, PROFILE, PRODUCT, KIND, TERMS, DEGREE)
        total = add_columns(total, weight, w, columns, m, q, first, FEW, PRECISION, BQ)

    kept = first + tl.arange(0, BQ)
    target = out + ((part * batch + element) * n + rows)[None, :] * q + kept[:, None]
    tl.store(target, total, mask=(rows[None, :] < n) & (kept[:, None] < q))


@triton.jit
def _factors(
    left, right, rows, columns, n, m, q, PRECISION: tl.constexpr, FEW: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BQ: tl.constexpr,
):  # fmt: skip
    """<left_i, right_j> of a tile; 0 beyond the last row or column."""
    left += rows.to(tl.int64) * q
    right += columns.to(tl.int64) * q
    total = tl.zeros([BN, BM], left.dtype.element_ty)
    if FEW > 0:
        for c in tl.static_range(FEW):
            own = tl.load(left + c, mask=rows < n, other=0.0)
            other = tl.load(right + c, mask=columns < m, other=0.0)
            total += own[None, :] * other[:, None]
    else:
        for first in range(0, q, BQ):
            kept = first + tl.arange(0, BQ)
            own = tl.load(left[None, :] + kept[:, None], mask=(rows[None, :] < n) & (kept[:, None] < q), other=0.0)
            mask = (kept[None, :] < q) & (columns[:, None] < m)
            other = tl.load(right[:, None] + kept[None, :], mask=mask, other=0.0)
            total = tl.dot(other, own, total, input_precision=PRECISION, out_dtype=total.dtype)
    return total


@triton.jit
def _pull(weight, u, x, y, p, BASE: tl.constexpr):
    """sum_j weight_ij du_ij/dx_ik of a tile, for the feature k that x and y point to."""
    column = tl.load(y)[:, None]
    if BASE == "inner":
        return tl.sum(weight * column, 0)
    else:
        gap = tl.load(x)[None, :] - column
        if BASE == "squared":
            return 2 * tl.sum(weight * gap, 0)
        elif BASE == "cityblock":
            return tl.sum(tl.where(gap > 0, weight, tl.where(gap < 0, -weight, 0.0)), 0)
        else:
            slope = weight * any_power(tl.abs(gap) / tl.where(u > 0, u, 1.0), p - 1.0)
            return tl.sum(tl.where(gap > 0, slope, tl.where(gap < 0, -slope, 0.0)), 0)


@triton.jit
def _gradient(
    x, y, row_terms, column_terms, left, right, params, coarse, out,
    n, m, d, q, x_row, y_row, x_step, y_step, row_step, column_step, left_step, right_step, blocks, span, batch,
    BASE: tl.constexpr, D: tl.constexpr, BK: tl.constexpr, PRODUCT: tl.constexpr, GUARD: tl.constexpr,
    PROFILE: tl.constexpr, KIND: tl.constexpr, TERMS: tl.constexpr, DEGREE: tl.constexpr, PRECISION: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BQ: tl.constexpr, FEW: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    element = (program // blocks).to(tl.int64)
    if GUARD >= 0:
        if tl.load(coarse + element) != GUARD:
            return
    rows = (program % blocks) * BM + tl.arange(0, BM)
    part = tl.program_id(2)
    x += element * x_step
    y += element * y_step
    left += element * left_step
    right += element * right_step
    params += element * 3 * TERMS
    column_terms += element * column_step
    row_term = tl.load(row_terms + element * row_step + rows)
    p = tl.load(params + 2)
    out += (part * batch + element) * d * x_row + rows

    for start in range(part * span, tl.minimum((part + 1) * span, m), BN):
        columns = start + tl.arange(0, BN)
        column_term = tl.load(column_terms + columns)
        u = _base(x, y, row_term, column_term, rows, columns, d, x_row, y_row, p, BASE, PROFILE, PRODUCT, PRECISION,
                  D, BK, BM, BN)  # fmt: skip
        weight = _slopes(u, row_term, column_term, params, PROFILE, PRODUCT, KIND, TERMS, DEGREE)
        weight *= _factors(left, right, rows, columns, n, m, q, PRECISION, FEW, BM, BN, BQ)
        if PRODUCT:
            mass = tl.sum(weight, 0)
            for k in range(0, d, BK):
                feature = k + tl.arange(0, BK)
                offset = feature[:, None].to(tl.int64)
                block = tl.load(y + offset * y_row + columns[None, :])
                pulled = tl.dot(block, weight, input_precision=PRECISION)
                if BASE == "squared":
                    pulled = 2 * (mass[None, :] * tl.load(x + offset * x_row + rows[None, :]) - pulled)
                mask = (rows[None, :] < n) & (feature[:, None] < d)
                tl.atomic_add(out[None, :] + offset * x_row, pulled, mask=mask, sem="relaxed")
        else:
            one = x + rows
            other = y + columns
            target = out
            for _ in range(d):
                tl.atomic_add(target, _pull(weight, u, one, other, p, BASE), mask=rows < n, sem="relaxed")
                one += x_row
                other += y_row
                target += x_row
