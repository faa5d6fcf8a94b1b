"""Row-blocked evaluation with exact first and second derivatives in linear memory.

A reduction over j is a function of one row i of `x` and of everything on the other side. It is evaluated on
blocks of rows, and its derivative evaluates the blocks again instead of keeping the n x m intermediates. The
second derivative differentiates that derivative, block by block, in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar._errors import DerivativeUnavailable
from howfar.ops.precision import without_autocast

BLOCK_ELEMENTS = 2**21
"""Pairs held at once: 8 MB in float32, small against any memory and large enough to hide the overhead of a call."""

_MOST_PARTS = 256
"""A block of a derivative is at least this part of a block of values: shorter ones would be all overhead."""

Rows = Callable[..., Tensor]
Forward = Callable[..., tuple[Tensor, tuple[Tensor, ...]]]
"""(keep, x, *others) -> the value, and where `keep` says that derivatives follow, what they can use of it."""
Gradient = Callable[..., tuple[Tensor | None, ...] | None]
"""(wanted, grad, inputs, kept) -> the vector-Jacobian product in the inputs wanted, or None to leave it to `rows`."""


@dataclass(frozen=True)
class _Plan:
    rows: Rows
    axis: int
    block: int
    derivative_block: int
    forward: Forward | None = None
    gradient: Gradient | None = None

    def slices(self, n: int, block: int) -> list[slice]:
        return [slice(start, min(start + block, n)) for start in range(0, n, block)]


def by_rows(
    rows: Rows,
    x: Tensor,
    *others: Tensor,
    out_axis: int,
    m: int,
    held: int,
    closed: bool = True,
    forward: Forward | None = None,
    gradient: Gradient | None = None,
    insist: bool = False,
) -> Tensor:
    """`rows(x, *others)`, evaluated on blocks of the rows of x.

    Args:
        rows: a function of (x_block, *others), whose row i depends on x_i alone; plain differentiable torch.
        x: (..., n, d).
        others: every other differentiable input, used whole by each block.
        out_axis: the axis of the result that runs over n, counted from the end.
        m: how many columns each row reduces over.
        held: about how many numbers the graph of `rows` holds for each pair.
        closed: whether `rows` depends on its arguments alone. Other parameters would not be reached by a derivative
            that evaluates blocks again, so their blocks are evaluated once and kept for it.
        forward: another way to the value of all rows. Few pairs whose derivatives are wanted do without it, as the
            graph of `rows` has derivatives of every order.
        gradient: another way to the first derivative, after `forward`; the second differentiates `rows`.
        insist: whether `forward` is taken for few pairs too.
    """
    if forward is not None and not (torch.is_grad_enabled() and any(t.requires_grad for t in (x, *others))):
        with without_autocast(x.device), torch.no_grad():
            return forward(False, x, *others)[0]
    rows = _precise(rows)
    batch = x.shape[:-2].numel()
    pairs = max(1, batch * m)
    block = max(1, BLOCK_ELEMENTS // pairs)
    few = x.shape[-2] * pairs * x.shape[-1] <= BLOCK_ELEMENTS // 2
    if few and not (insist and forward is not None):
        value = rows(x, *others)
        if forward is None:
            return value
        with without_autocast(x.device), torch.no_grad():
            number = forward(False, x, *others)[0]
        return with_number(value, number)
    if not closed:
        return torch.cat([rows(x[..., s : s + block, :], *others) for s in range(0, x.shape[-2], block)], out_axis)
    derivative_block = max(1, block // min(held, _MOST_PARTS))
    plan = _Plan(rows, out_axis, block, derivative_block, forward, gradient)
    out: Tensor = _Streamed.apply(plan, x, *others)  # type: ignore[no-untyped-call]
    return out


def with_number(value: Tensor, number: Tensor) -> Tensor:
    """`number`, with the derivatives of `value`: what is returned does not depend on who wants a derivative."""
    out: Tensor = _WithNumber.apply(value, number)  # type: ignore[no-untyped-call]
    return out


class _WithNumber(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, number: Tensor) -> Tensor:  # noqa: ARG004
        return number.view_as(number)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return grad, None


def _precise(rows: Rows) -> Rows:
    def precise(x: Tensor, *others: Tensor) -> Tensor:
        with without_autocast(x.device):
            return rows(x, *others)

    return precise


class _Streamed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: _Plan, x: Tensor, *others: Tensor) -> Tensor:
        ctx.plan = plan
        if plan.forward is not None:
            with without_autocast(x.device):
                value, kept = plan.forward(True, x, *others)
            ctx.save_for_backward(x, *others, *kept)
            return value
        ctx.save_for_backward(x, *others)
        # Parts that are kept while blocks come and go would split the holes that blocks leave in the heap.
        out: Tensor | None = None
        with torch.no_grad():
            for s in plan.slices(x.shape[-2], plan.block):
                part = plan.rows(x[..., s, :], *others)
                if out is None:
                    shape = list(part.shape)
                    shape[plan.axis] = x.shape[-2]
                    out = part.new_empty(shape)
                _rows(out, s, plan.axis).copy_(part)
        assert out is not None
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wanted = tuple(ctx.needs_input_grad[1:])
        grads = iter(_StreamedGradient.apply(ctx.plan, wanted, grad, *ctx.saved_tensors))  # type: ignore[no-untyped-call]
        return (None, *(next(grads) if needed else None for needed in wanted))


class _StreamedGradient(torch.autograd.Function):
    """The vector-Jacobian product of `_Streamed`, itself a streamed function of (grad, x, *others)."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, wanted: tuple[bool, ...], grad: Tensor, *saved: Tensor) -> tuple[Tensor, ...]:
        ctx.plan, ctx.wanted, ctx.kept = plan, wanted, len(saved) - len(wanted)
        inputs, kept = saved[: len(wanted)], saved[len(wanted) :]
        ctx.save_for_backward(grad, *inputs)
        if plan.gradient is not None:
            with without_autocast(grad.device):
                found = plan.gradient(wanted, grad, inputs, kept)
            if found is not None:
                return tuple(t for t in found if t is not None)
        total = _Accumulator(inputs, wanted)
        for s in plan.slices(inputs[0].shape[-2], plan.derivative_block):
            with torch.enable_grad():
                leaves = _leaves(inputs, s, wanted)
                out = plan.rows(*leaves)
                asked = [leaf for leaf, needed in zip(leaves, wanted, strict=True) if needed]
                grads = torch.autograd.grad(out, asked, _rows(grad, s, plan.axis), allow_unused=True)
            total.add(s, grads)
        return total.tensors()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        plan, wanted = ctx.plan, ctx.wanted
        grad, *inputs = ctx.saved_tensors
        everything = (True,) * len(inputs)
        total = _Accumulator(inputs, everything)
        grad_parts: list[Tensor] = []
        for s in plan.slices(inputs[0].shape[-2], plan.derivative_block):
            with torch.enable_grad():
                leaves = _leaves(inputs, s, everything)
                seed = _rows(grad, s, plan.axis).detach().requires_grad_()
                out = plan.rows(*leaves)
                asked = [leaf for leaf, needed in zip(leaves, wanted, strict=True) if needed]
                first = torch.autograd.grad(out, asked, seed, create_graph=True, allow_unused=True)
                terms = [
                    (g * (o[..., s, :] if leaf is leaves[0] else o)).sum()
                    for g, o, leaf in zip(first, outer, asked, strict=True)
                    if g is not None and g.requires_grad
                ]
                if not terms:
                    grad_parts.append(torch.zeros_like(seed))
                    continue
                second = torch.autograd.grad(torch.stack(terms).sum(), [seed, *leaves], allow_unused=True)
            grad_parts.append(torch.zeros_like(seed) if second[0] is None else second[0])
            total.add(s, second[1:])
        last = torch.cat(grad_parts, plan.axis), *total.tensors()
        seconds = (_Last.apply(t, grad, *inputs, *outer) for t in last)  # type: ignore[no-untyped-call]
        return (None, None, *seconds, *(None for _ in range(ctx.kept)))


class _Last(torch.autograd.Function):
    """A value that depends on its origins, and raises when it is differentiated in them."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *origins: Tensor) -> Tensor:  # noqa: ARG004
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:  # noqa: ARG004
        raise DerivativeUnavailable(
            "a reduction in blocks: third derivatives are not available, as blocks are evaluated again for two. "
            "Use fewer points, whose pairs are held at once, or differentiate numerically."
        )


class _Accumulator:
    """Gradients of the row input, block by block, and of the shared inputs, summed over blocks."""

    def __init__(self, inputs: tuple[Tensor, ...] | list[Tensor], wanted: tuple[bool, ...]) -> None:
        self._sums = [torch.zeros_like(t) for t, needed in zip(inputs, wanted, strict=True) if needed]
        self._first_is_rows = wanted[0]

    def add(self, rows: slice, grads: tuple[Tensor | None, ...]) -> None:
        for k, g in enumerate(grads):
            if g is None:
                continue
            if k == 0 and self._first_is_rows:
                self._sums[0][..., rows, :] = g
            else:
                self._sums[k] += g

    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(self._sums)


def _rows(tensor: Tensor, rows: slice, axis: int) -> Tensor:
    return tensor[..., rows] if axis == -1 else tensor[..., rows, :]


def _leaves(inputs: tuple[Tensor, ...] | list[Tensor], rows: slice, wanted: tuple[bool, ...]) -> list[Tensor]:
    x, *others = inputs
    return [t.detach().requires_grad_(needed) for t, needed in zip((x[..., rows, :], *others), wanted, strict=True)]
