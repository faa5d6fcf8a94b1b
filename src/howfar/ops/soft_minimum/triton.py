"""The soft minimum on a GPU: one pass over the columns, rescaled on the way, nothing of size n x m stored.

In base 2, with s = log2(e) / eps: score_ij = s (h_j - c_ij), out_i = -log2 sum_j 2^score_ij / s. Where squared distances
come as products, |y_j|^2 is folded into the potential and |x_i|^2 is added at the end, so that a tile is one matrix
product and one addition. Derivatives are sums over pairs with the plan p_ij = 2^(score_ij + s out_i), of ops.triton_sums.
"""

# Of an `if` over a constant Triton compiles one branch: the other has to be an `else`, and the `if` its own.
# ruff: noqa: SIM102
# The arguments of a kernel are values of Triton's own.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from howfar.costs import Cost
from howfar.ops import triton_sums as sums
from howfar.ops import triton_tiles as tiles
from howfar.ops.triton_tiles import LOG2E, Form, Pair, add_columns, difference_tile, power, product_tile

Kept = tuple[Tensor, ...]


def why_unavailable(cost: Cost, *tensors: Tensor) -> str | None:
    """Why this cost on these tensors, points first, goes another way; None where it can be computed here."""
    if tiles.form_of(cost) is None:
        return f"it does not know the cost {cost.name}"
    return tiles.why_not_these(*tensors)


@torch.no_grad()
def softmin(x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: Cost, *, precision: str = "ieee") -> Tensor:
    """-eps log sum_j exp((h_j - c(x_i, y_j)) / eps): (..., n).

    `precision` is how products of float32 points are formed where d > 16: "ieee" (24 bits), or by request "tf32x3"
    (about 21), "bf16x3" (about 16) or "tf32": then points are rounded to 11 bits, which moves the cost of a pair by up
    to 2^-10 |x - y| times the largest distance of a point from the centre of both clouds.
    """
    return _forward(x, y, h, None, eps, cost, precision)[0]


@torch.no_grad()
def softmin_apply(
    x: Tensor, y: Tensor, h: Tensor, v: Tensor, eps: Tensor, cost: Cost, *, precision: str = "ieee"
) -> Tensor:
    """(..., n, 1 + q): the soft minimum, then the averages of v."""
    value, averages = _forward(x, y, h, v, eps, cost, precision)
    assert averages is not None
    return torch.cat([value.unsqueeze(-1), averages], -1)


def forward(keep: bool, x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: Cost) -> tuple[Tensor, Kept]:  # noqa: ARG001
    """`softmin`, and what its derivative can use of this pass."""
    value = softmin(x, y, h, eps, cost)
    return value, (value,)


def forward_apply(
    keep: bool,  # noqa: ARG001
    x: Tensor,
    y: Tensor,
    h: Tensor,
    v: Tensor,
    eps: Tensor,
    cost: Cost,
) -> tuple[Tensor, Kept]:
    """`softmin_apply`, and what its derivative can use of this pass."""
    out = softmin_apply(x, y, h, v, eps, cost)
    return out, (out,)


@torch.no_grad()
def gradient(
    wanted: tuple[bool, ...], grad: Tensor, inputs: tuple[Tensor, ...], kept: Kept, eps: Tensor, cost: Cost
) -> tuple[Tensor | None, ...]:
    """The vector-Jacobian product of `softmin` in x, y and h; None where it is not wanted."""
    x, y, h = inputs
    return _gradient(grad.unsqueeze(-1), None, kept[0], x, y, h, eps, cost, wanted)[:3]


@torch.no_grad()
def gradient_apply(
    wanted: tuple[bool, ...], grad: Tensor, inputs: tuple[Tensor, ...], kept: Kept, eps: Tensor, cost: Cost
) -> tuple[Tensor | None, ...]:
    """The vector-Jacobian product of `softmin_apply` in x, y, h and v; None where it is not wanted.

    A cost c_ij is met with the weight p_ij (g_i + <G_i, A_i - v_j> / eps), for the gradients g of the values and G of
    the averages A.
    """
    x, y, h, v = inputs
    (out,) = kept
    strength = eps[..., None].to(out.dtype)
    by_value = grad[..., 1:] / -strength.unsqueeze(-1)
    constant = grad[..., 0] + (grad[..., 1:] * out[..., 1:]).sum(-1) / strength
    weights = torch.cat([constant.unsqueeze(-1), by_value], -1)
    return _gradient(weights, v, out[..., 0], x, y, h, eps, cost, wanted)


def _forward(
    x: Tensor, y: Tensor, h: Tensor, v: Tensor | None, eps: Tensor, cost: Cost, precision: str
) -> tuple[Tensor, Tensor | None]:
    form = tiles.form_of(cost)
    assert form is not None
    scale = LOG2E / eps.reshape(-1).to(x.dtype)
    pair = tiles.pair(x, y, form, product=form.exponent == 1, precision=precision)
    values = None if v is None else tiles.flat(v, 2).contiguous()
    score, averages = _streamed(pair, tiles.flat(h, 1), values, scale, form)
    value = (-score / scale[:, None]).reshape(x.shape[:-1])
    return value, None if averages is None else averages.reshape(*x.shape[:-1], averages.shape[-1])


def _streamed(pair: Pair, h: Tensor, v: Tensor | None, scale: Tensor, form: Form) -> tuple[Tensor, Tensor | None]:
    """log2 sum_j 2^score_ij (batch, n), and the averages (batch, n, q)."""
    n, m = pair.x.n, pair.y.n
    q = 0 if v is None else v.shape[-1]
    few, bq = tiles.columns_of(q)
    chunks = max(1, -(-q // bq))
    parts, span = tiles.split(pair, chunks)
    scores = h.new_empty(parts, pair.batch, n)
    averages = h.new_empty(parts, pair.batch, n, q)
    params = tiles.parameters(pair.batch, [(scale, form.exponent, form.p)], like=h)
    for product, guard, coarse in tiles.passes(pair, scale):
        shift = pair.y.norms[:, :m] if product else 0.0
        bias = tiles.padded(scale[:, None] * (h - shift), pair.y.row, -torch.inf)
        meta = {**pair.meta(product, second=q > 0 and not few), "GUARD": guard, "KIND": tiles.kind_of(form.exponent)}
        blocks = -(-n // meta["BM"])
        tiles.launch(
            _kernel,
            (pair.batch * blocks, chunks, parts),
            (
                *(pair.x.data, pair.y.data, pair.x.norms, bias, h if v is None else v, params, coarse),
                *(scores, averages, n, m, pair.x.d, q, pair.x.row, pair.y.row),
                *(pair.x.step, pair.y.step, pair.x.norms_step, 0 if v is None else tiles.step(v)),
                *(blocks, span, pair.batch),
            ),
            {**meta, "BQ": bq, "FEW": few, "VALUES": q > 0},
        )
    if parts == 1:
        return scores[0], averages[0] if q else None
    top = scores.amax(0)
    shares = torch.exp2(scores - top)
    total = shares.sum(0)
    return top + total.log2(), ((shares / total).unsqueeze(-1) * averages).sum(0) if q else None


def _gradient(
    weights: Tensor,  # (..., n, 1 + q)
    v: Tensor | None,
    value: Tensor,
    x: Tensor,
    y: Tensor,
    h: Tensor,
    eps: Tensor,
    cost: Cost,
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """Sums over the plan of the weights <weights_i, (1, v_j)>, in the direction of each input."""
    form = tiles.form_of(cost)
    assert form is not None
    batch = x.shape[:-2]
    scale = LOG2E / eps.reshape(-1).to(x.dtype)
    pair = tiles.pair(x, y, form, product=form.exponent == 1)
    rows, columns = (scale[:, None] * tiles.flat(t, 1) for t in (value, h))
    ones = h.new_ones(1, h.shape[-1], 1)
    factors = tiles.flat(weights, 2).contiguous()
    others = ones if v is None else torch.cat([ones.expand(len(flat := tiles.flat(v, 2)), -1, -1), flat], -1)
    profile = sums.Profile("gibbs", form, [(scale, form.exponent, form.p)], guard=scale)
    grad_x = sums.gradient(pair, profile, factors, others, rows, columns) if wanted[0] else None
    back = pair.swapped()
    grad_y = sums.gradient(back, profile, others, factors, columns, rows) if wanted[1] else None
    shaped = [None if g is None else g.reshape(*batch, *g.shape[-2:]) for g in (grad_x, grad_y)]
    grads = [None if g is None else g.to(x.dtype) for g in tiles.pull_back(x, y, form, *shaped)]
    if not any(wanted[2:]):
        return (*grads, None, None)
    collected = sums.weighted(back, profile, factors, columns, rows).reshape(*batch, y.shape[-2], -1)
    grad_h = grad_v = None
    if wanted[2]:
        grad_h = -collected[..., 0] if v is None else -(collected[..., 0] + (collected[..., 1:] * v).sum(-1))
    if v is not None and wanted[3]:
        grad_v = -eps[..., None, None].to(x.dtype) * collected[..., 1:]
    return (*grads, grad_h, grad_v)


@triton.jit
def _kernel(
    x, y, x_norms, bias, values, params, coarse, scores, averages,
    n, m, d, q, x_row, y_row, x_step, y_step, norms_step, values_step, blocks, span, batch,
    BASE: tl.constexpr, D: tl.constexpr, BK: tl.constexpr, PRODUCT: tl.constexpr, GUARD: tl.constexpr,
    KIND: tl.constexpr, PRECISION: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BQ: tl.constexpr,
    FEW: tl.constexpr, VALUES: tl.constexpr,
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
    bias += element * y_row
    values += element * values_step
    scale = tl.load(params + 3 * element)
    exponent = tl.load(params + 3 * element + 1)
    p = tl.load(params + 3 * element + 2)

    top = tl.full([BM], float("-inf"), x.dtype.element_ty)
    total = tl.zeros([BM], x.dtype.element_ty)
    sum_of_values = tl.zeros([BQ, BM], x.dtype.element_ty)
    for start in range(part * span, tl.minimum((part + 1) * span, m), BN):
        columns = start + tl.arange(0, BN)
        if PRODUCT:
            inner = product_tile(x, y, rows, columns, d, x_row, y_row, PRECISION, D, BK, BM, BN)
            score = tl.load(bias + columns)[:, None] + 2 * scale * inner
        else:
            u = difference_tile(x, y, rows, columns, d, x_row, y_row, p, BASE, D, BM, BN)
            score = tl.load(bias + columns)[:, None] - scale * power(u, exponent, KIND)
        new_top = tl.maximum(top, tl.max(score, 0))
        # Before the first point that counts the top is -inf, and -inf minus itself would be NaN.
        zero = tl.where(new_top == float("-inf"), 0.0, new_top)
        weight = tl.exp2(score - zero[None, :])
        fade = tl.exp2(top - zero)
        total = total * fade + tl.sum(weight, 0)
        if VALUES:
            sum_of_values *= fade[None, :]
            sum_of_values = add_columns(sum_of_values, weight, values, columns, m, q, first, FEW, PRECISION, BQ)
        top = new_top

    out = (part * batch + element) * n + rows
    counted = total > 0
    total = tl.where(counted, total, 1.0)
    lse = tl.where(counted, top + tl.log2(total), float("-inf"))
    if PRODUCT:
        lse -= scale * tl.load(x_norms + element * norms_step + rows)
    tl.store(scores + out, lse, mask=rows < n)
    if VALUES:
        kept = first + tl.arange(0, BQ)
        mask = (rows[None, :] < n) & (kept[:, None] < q)
        tl.store(averages + out[None, :] * q + kept[:, None], sum_of_values / total[None, :], mask=mask)
