"""The nearest neighbours on a GPU: each row keeps its k best in registers while the columns pass by.

Of a tile, the smallest number of each row is taken out and put in the place of the worst one kept, again and again until
no row gets better: about k log(m / k) times for a row in all, so that most tiles cost one minimum.
Distances are summed from differences, so that near ones keep all their digits.
"""

# The arguments of a kernel are values of Triton's own.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from howfar.costs import Cost
from howfar.ops import triton_tiles as tiles
from howfar.ops.triton_tiles import difference_tile, power

MOST = 128
"""Neighbours that a list in registers is the right thing for."""
_NOBODY: tl.constexpr = tl.constexpr(2**31 - 1)


def why_unavailable(cost: Cost, k: int, *tensors: Tensor) -> str | None:
    """Why this cost and k on these tensors, points first, go another way; None where they can be computed here."""
    if tiles.form_of(cost) is None:
        return f"it does not know the cost {cost.name}"
    if k > MOST:
        return f"it keeps up to {MOST} neighbours of each point, and k is {k}"
    return tiles.why_not_these(*tensors)


@torch.no_grad()
def nearest(x: Tensor, y: Tensor, h: Tensor | None, k: int, cost: Cost) -> tuple[Tensor, Tensor]:
    """The k smallest c(x_i, y_j) - h_j in rising order and their j, ties by the smaller j: (..., n, k) twice."""
    h = y.new_zeros(y.shape[-2]).expand(y.shape[:-1]) if h is None else h
    form = tiles.form_of(cost)
    assert form is not None
    pair = tiles.pair(x, y, form, product=False)
    n, m, kept = pair.x.n, pair.y.n, tiles.power_of_two(k)
    unused = ("PRODUCT", "PRECISION", "BK")
    meta = {name: value for name, value in pair.meta(False, second=False).items() if name not in unused}
    blocks = -(-n // meta["BM"])
    parts, span = tiles.split(pair, 1)
    values = x.new_empty(parts, pair.batch, n, kept)
    indices = torch.empty(values.shape, dtype=torch.int32, device=x.device)
    potential = tiles.padded(tiles.flat(h, 1), pair.y.row, -torch.inf).contiguous()
    params = tiles.parameters(pair.batch, [(1.0, form.exponent, form.p)], x)
    tiles.launch(
        _kernel,
        (pair.batch * blocks, 1, parts),
        (
            *(pair.x.data, pair.y.data, potential, params, values, indices),
            *(n, m, pair.x.d, pair.x.row, pair.y.row, pair.x.step, pair.y.step, tiles.step(potential)),
            *(blocks, span, pair.batch),
        ),
        {**meta, "KIND": tiles.kind_of(form.exponent), "KEPT": kept},
    )
    values, indices = (t.movedim(0, -2).flatten(-2).reshape(*x.shape[:-1], -1) for t in (values, indices))
    values, indices = _in_order(values, indices.to(torch.int64), k)
    return values, torch.where(indices == _NOBODY.value, _taken_out(h, values), indices)


def _in_order(values: Tensor, indices: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k first of a list that holds them, by value and then by index."""
    indices, by_index = indices.sort(-1)
    values, by_value = values.gather(-1, by_index).sort(dim=-1, stable=True)
    return values[..., :k].contiguous(), indices.gather(-1, by_value)[..., :k].contiguous()


def _taken_out(h: Tensor, values: Tensor) -> Tensor:
    """Who stands at the infinite values of a row: the points that h removes, by their index."""
    order = (h > -torch.inf).to(torch.uint8).sort(dim=-1, stable=True).indices
    far = values.isinf()
    rank = (far.cumsum(-1) - 1).clamp_min(0)
    return order.unsqueeze(-2).expand(*values.shape[:-1], -1).gather(-1, rank)


@triton.jit
def _kernel(
    x, y, potential, params, values, indices,
    n, m, d, x_row, y_row, x_step, y_step, h_step, blocks, span, batch,
    BASE: tl.constexpr, D: tl.constexpr, KIND: tl.constexpr, KEPT: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    element = (program // blocks).to(tl.int64)
    rows = (program % blocks) * BM + tl.arange(0, BM)
    part = tl.program_id(2)
    x += element * x_step
    y += element * y_step
    potential += element * h_step
    exponent = tl.load(params + 3 * element + 1)
    p = tl.load(params + 3 * element + 2)

    # A point at infinity takes no place: it is the caller who knows the order there.
    place = tl.arange(0, KEPT)[:, None]
    best = tl.full([KEPT, BM], float("inf"), x.dtype.element_ty)
    who = tl.full([KEPT, BM], _NOBODY, tl.int32)
    worst = tl.full([BM], float("inf"), x.dtype.element_ty)
    for start in range(part * span, tl.minimum((part + 1) * span, m), BN):
        columns = start + tl.arange(0, BN)
        u = difference_tile(x, y, rows, columns, d, x_row, y_row, p, BASE, D, BM, BN)
        reduced = power(u, exponent, KIND) - tl.load(potential + columns)[:, None]
        value = tl.min(reduced, 0)
        better = value < worst
        while tl.max(better.to(tl.int32), 0) > 0:
            name = tl.min(tl.where(reduced == value[None, :], columns[:, None], _NOBODY), 0)
            # Of equal values the one that came last has to go, as its index is the largest.
            last = tl.max(tl.where(best == worst[None, :], who, -1), 0)
            loses = (best == worst[None, :]) & (who == last[None, :])
            taken = (place == tl.min(tl.where(loses, place, KEPT), 0)[None, :]) & better[None, :]
            best = tl.where(taken, value[None, :], best)
            who = tl.where(taken, name[None, :], who)
            worst = tl.max(best, 0)
            reduced = tl.where(columns[:, None] == name[None, :], float("inf"), reduced)
            value = tl.min(reduced, 0)
            better = value < worst

    target = ((part * batch + element) * n + rows)[None, :] * KEPT + place
    mask = (rows[None, :] < n) & (place >= 0)
    tl.store(values + target, best, mask=mask)
    tl.store(indices + target, who, mask=mask)
