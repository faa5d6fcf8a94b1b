"""One iteration of Sinkhorn's algorithm in one pass over the pairs, on the compiled core.

Two soft minima in turn evaluate every cost and every exponential twice. Where potentials are near those of the last
iteration, the weights exp((f' + g - C) / eps) about that f' give both: their row sums update f, and while a block of
them is in cache, with the rows put right, their column sums are the soft minimum over the new f.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from howfar import _native
from howfar.costs import Cost
from howfar.ops import backends, compiled
from howfar.ops.compiled import Base

_MOST_COLUMNS = 2**17
"""Beyond, the weights of a few rows leave the cache."""
_PARTS = 32
"""At most so many parts have column sums of their own; which rows they have depends on n alone."""
_FEWEST_ROWS = 64
"""In a part, as many as share one look at the columns."""
_PADDING = 64
"""Columns are rounded up to a multiple of it, the widest panel of an instruction set."""
_SECONDS = 0.2
"""About the longest call: the time after which Ctrl-C is answered."""


@dataclass(frozen=True)
class Turn:
    """What an iteration starts from.

    Attributes:
        f: (..., n) of the last one, in units of the cost.
        g: (..., m) whose update is wanted.
        a: weights (..., n).
        b: weights (..., m).
        eps: (...) temperature, in units of the cost.
        damping: (...) the update of f is the soft minimum times this,
        bound: and no further from 0 than this.
    """

    f: Tensor
    g: Tensor
    a: Tensor
    b: Tensor
    eps: Tensor
    damping: Tensor
    bound: float = math.inf


def between_points(
    x: Tensor,
    y: Tensor,
    cost: Cost,
    backend: str,
    turn: Turn,
    *,
    in_order: bool,
    radius: Callable[[], float] | None = None,
) -> tuple[Tensor, Tensor] | None:
    """The new f (..., n) and the soft minimum over it (..., m); None where they have to be computed in turn.

    That is where the potentials moved too far, and on other backends. Points without mass get 0. Where the points lie in
    spatial order, those too far from each other are passed over. `radius` as in `compiled.arrange`.
    """
    base = compiled.base_of(cost)
    if not isinstance(base, Base) or y.shape[-2] > _MOST_COLUMNS or not _runs(backend, x, y, turn):
        return None
    clouds = compiled.arrange(base, x, y, 1 / float(turn.eps.min()), radius=radius)
    dtype, batch, n, m = clouds.x.dtype, turn.eps.shape, x.shape[-2], y.shape[-2]
    near, g = (t.masked_fill(w == 0, -math.inf) for t, w in ((turn.f, turn.a), (turn.g, turn.b)))
    part = max(_FEWEST_ROWS, -(-n // _PARTS))
    parts, columns = -(-n // part), -(-m // _PADDING) * _PADDING
    held = {
        name: compiled.flat(t.to(dtype).expand(*batch, *t.shape[t.ndim - axes :]), axes)
        for name, t, axes in (
            ("x", clouds.x, 2), ("y", clouds.y, 2), ("f", near / clouds.factor, 1), ("h", g / clouds.factor, 1),
            ("a", turn.a, 1), ("b", turn.b, 1),
        )
    }  # fmt: skip
    scale = (clouds.factor / turn.eps.double()).contiguous()
    damping = turn.damping.double().expand(batch).contiguous()
    f, soft = clouds.x.new_empty(*batch, n), clouds.x.new_empty(*batch, m)
    partial = clouds.x.new_empty(*batch, parts, columns)
    good = torch.empty(*batch, parts, dtype=torch.int64)
    call = _native.Sweep(
        pairs=_native.Pairs(
            n=n, m=m, d=clouds.x.shape[-1], q=0, exponent=clouds.exponent, p=clouds.p, batch=batch.numel(),
            form=compiled.FORMS[clouds.form], threads=_native.threads(), scale=scale.data_ptr(),
        ),
        f=f.data_ptr(), soft=soft.data_ptr(), partial=partial.data_ptr(), good=good.data_ptr(),
        part=part, columns=columns, damping=damping.data_ptr(), bound=turn.bound / clouds.factor,
        truncate=in_order,
    )  # fmt: skip
    for name, (tensor, step) in held.items():
        on = call if name in ("a", "b") else call.pairs
        setattr(on, name, tensor.data_ptr())
        setattr(on, f"{name}_step", step)
    seconds = compiled.row_seconds(clouds, 1, 2) * batch.numel()
    if seconds * n < compiled.ALONE:
        call.pairs.threads = 1
    allowed = int(_SECONDS * call.pairs.threads / seconds)
    # A part is the work of one thread, so that a call shorter than parts for all of them takes some rows of each.
    abreast = max(-(-call.pairs.threads // batch.numel()), allowed // part)
    rows = min(part, max(_FEWEST_ROWS, allowed // abreast))
    for first in range(0, n, abreast * part):
        call.pairs.row_begin, call.pairs.row_end = first, min(first + abreast * part, n)
        for begin in range(0, part, rows):
            call.part_begin, call.part_end = begin, begin + rows
            _native.call("sweep", dtype == torch.float32, call)
    if not bool(good[..., 0].all()):
        return None
    return tuple((t * clouds.factor).to(turn.f.dtype) for t in (f, soft))  # type: ignore[return-value]


def _runs(backend: str, x: Tensor, y: Tensor, turn: Turn) -> bool:
    if backend not in ("auto", "cpu") or x.device.type != "cpu":
        return False
    reason = compiled.why_not_these(x, y, turn.a, turn.b, turn.g) or _native.why_no_kernels()
    return backends.choose("auto", "softmin", x.device, lambda: reason) == "cpu"
