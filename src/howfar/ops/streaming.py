"""Row-blocked evaluation with exact first and second derivatives in linear memory.

A reduction over j is a function of one row i of `x` and of everything on the other side. It is evaluated on
blocks of rows, and its derivative evaluates the blocks again instead of keeping the n x m intermediates. The
second derivative differentiates that derivative, block by block, in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DerivativeUnavailable
from howfar.ops.precision import without_autocast

BLOCK_ELEMENTS = 2**21
"""Numbers held at once: 8 MB in float32, small against any memory and large enough to hide the overhead of a call."""

_FEWEST_HELD = {"cpu": 8}
"""What values alone are taken to hold for each pair, so that their temporaries stay in the cache; one elsewhere, where
to start a kernel costs more."""
_MOST_HELD = 256
"""No block is a smaller part than this: it would be all overhead."""

Rows = Callable[..., Tensor]


@dataclass(frozen=True)
class Blocks:
    """A reduction in plain torch, cut into rows.

    Attributes:
        rows: a function of (x_block, *others), whose row i depends on x_i alone; plain differentiable torch.
        axis: the axis of the result that runs over n, counted from the end.
        held: about how many numbers the graph of `rows` holds for each pair.
    """

    rows: Rows
    axis: int
    held: int

    def few(self, inputs: Sequence[Tensor]) -> bool:
        """Whether the graph of all pairs at once may be held: it has derivatives of every order."""
        x = inputs[0]
        return x.shape[-2] * _pairs(inputs) * x.shape[-1] <= BLOCK_ELEMENTS // 2

    def plain(self, *inputs: Tensor) -> Tensor:
        """The value in operations that torch can trace and transform; a graph, where one is recorded, holds all pairs."""
        x, *others = inputs
        with without_autocast(x.device):
            if self.few(inputs):
                return self.rows(x, *others)
            return torch.cat([self.rows(x[..., s, :], *others) for s in cut(inputs)], self.axis)

    @torch.no_grad()
    def value(self, *inputs: Tensor) -> Tensor:
        """The value alone."""
        x, *others = inputs
        out: Tensor | None = None
        with without_autocast(x.device):
            # Parts that are kept while blocks come and go would split the holes that blocks leave in the heap.
            for s in cut(inputs):
                part = self.rows(x[..., s, :], *others)
                if out is None:
                    shape = list(part.shape)
                    shape[self.axis] = x.shape[-2]
                    out = part.new_empty(shape)
                _rows(out, s, self.axis).copy_(part)
        assert out is not None
        return out

    def gradient(self, wanted: Sequence[bool], grad: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The vector-Jacobian product in the inputs wanted."""
        total = _Accumulator(inputs, wanted)
        for s in cut(inputs, self.held):
            with torch.enable_grad(), without_autocast(grad.device):
                leaves = _leaves(inputs, s, wanted)
                out = self.rows(*leaves)
                asked = _of(leaves, wanted)
                grads = torch.autograd.grad(out, asked, _rows(grad, s, self.axis), allow_unused=True)
            total.add(s, grads)
        return total.sums

    def second(
        self, wanted: Sequence[bool], outer: Sequence[Tensor], grad: Tensor, inputs: Sequence[Tensor]
    ) -> list[Tensor]:
        """The vector-Jacobian product, with `outer`, of `gradient` in (grad, *inputs)."""
        everything = (True,) * len(inputs)
        total = _Accumulator(inputs, everything)
        by_grad = torch.zeros(grad.shape, dtype=grad.dtype, device=grad.device)
        for s in cut(inputs, self.held):
            with torch.enable_grad(), without_autocast(grad.device):
                leaves = _leaves(inputs, s, everything)
                seed = _rows(grad, s, self.axis).detach().requires_grad_()
                asked = _of(leaves, wanted)
                first = torch.autograd.grad(self.rows(*leaves), asked, seed, create_graph=True, allow_unused=True)
                terms = [
                    (g * (o[..., s, :] if leaf is leaves[0] else o)).sum()
                    for g, o, leaf in zip(first, outer, asked, strict=True)
                    if g is not None and g.requires_grad
                ]
                if not terms:
                    continue
                second = torch.autograd.grad(torch.stack(terms).sum(), [seed, *leaves], allow_unused=True)
            if second[0] is not None:
                _rows(by_grad, s, self.axis).copy_(second[0])
            total.add(s, second[1:])
        return [by_grad, *total.sums]

    def second_at_once(
        self, wanted: Sequence[bool], outer: Sequence[Tensor], grad: Tensor, inputs: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """As `second`, of few pairs: in one graph, which has derivatives of every order; None where there is none."""
        further = torch.is_grad_enabled()
        with torch.enable_grad(), without_autocast(grad.device):
            seed, *views = (t.view_as(t) for t in (grad, *inputs))
            asked = _of(views, wanted)
            first = torch.autograd.grad(self.rows(*views), asked, seed, create_graph=True, allow_unused=True)
            pairs = [(g, o) for g, o in zip(first, outer, strict=True) if g is not None and g.requires_grad]
            origins = [t for t in (seed, *views) if t.requires_grad]
            if not pairs or not origins:
                return [None] * (1 + len(inputs))
            tops, weights = zip(*pairs, strict=True)
            second = iter(torch.autograd.grad(tops, origins, weights, create_graph=further, allow_unused=True))
            return [next(second) if t.requires_grad else None for t in (seed, *views)]


def by_rows(blocks: Blocks, *inputs: Tensor, closed: bool = True) -> Tensor:
    """The reduction with its derivatives, for a formula that only Python knows.

    Args:
        blocks: the reduction.
        inputs: x (..., n, d), then every other differentiable input, used whole by each block.
        closed: whether `rows` depends on its arguments alone. Other parameters would not be reached by a derivative
            that evaluates blocks again, so their blocks are evaluated once and kept for it.
    """
    if not closed or blocks.few(inputs) or _checks.transformed():
        return blocks.plain(*inputs)
    out: Tensor = _Streamed.apply(blocks, *inputs)  # type: ignore[no-untyped-call]
    return out


def no_third_derivative() -> DerivativeUnavailable:
    """The error where derivatives end."""
    return DerivativeUnavailable(
        "a reduction in blocks: third derivatives are not available, as blocks are evaluated again for two. "
        "Use fewer points, whose pairs are held at once, or differentiate numerically."
    )


class _Streamed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, blocks: Blocks, *inputs: Tensor) -> Tensor:
        ctx.blocks = blocks
        ctx.save_for_backward(*inputs)
        return blocks.value(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        wanted = tuple(ctx.needs_input_grad[1:])
        grads = iter(_StreamedGradient.apply(ctx.blocks, wanted, grad, *ctx.saved_tensors))  # type: ignore[no-untyped-call]
        return (None, *(next(grads) if needed else None for needed in wanted))


class _StreamedGradient(torch.autograd.Function):
    """The vector-Jacobian product of `_Streamed`, itself a streamed function of (grad, x, *others)."""

    @staticmethod
    def forward(
        ctx: Any, blocks: Blocks, wanted: tuple[bool, ...], grad: Tensor, *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.blocks, ctx.wanted = blocks, wanted
        ctx.save_for_backward(grad, *inputs)
        return tuple(blocks.gradient(wanted, grad, inputs))

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        grad, *inputs = ctx.saved_tensors
        last = ctx.blocks.second(ctx.wanted, outer, grad, inputs)
        return (None, None, *(_Last.apply(t, grad, *inputs, *outer) for t in last))  # type: ignore[no-untyped-call]


class _Last(torch.autograd.Function):
    """A value that depends on its origins, and raises when it is differentiated in them."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *origins: Tensor) -> Tensor:  # noqa: ARG004
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:  # noqa: ARG004
        raise no_third_derivative()


class _Accumulator:
    """Gradients of the row input, block by block, and of the shared inputs, summed over blocks."""

    def __init__(self, inputs: Sequence[Tensor], wanted: Sequence[bool]) -> None:
        self.sums = [torch.zeros(t.shape, dtype=t.dtype, device=t.device) for t in _of(inputs, wanted)]
        self._first_is_rows = wanted[0]

    def add(self, rows: slice, grads: Sequence[Tensor | None]) -> None:
        for k, g in enumerate(grads):
            if g is None:
                continue
            if k == 0 and self._first_is_rows:
                self.sums[0][..., rows, :] = g
            else:
                self.sums[k] += g


def _pairs(inputs: Sequence[Tensor]) -> int:
    """Of one row, over the batch."""
    x, y = inputs[:2]
    return max(1, x.shape[:-2].numel() * y.shape[-2])


def block_rows(inputs: Sequence[Tensor], held: int = 1) -> int:
    """Rows of x whose pairs make a block, where a formula holds so many numbers for each pair; 1 stands for its value."""
    x = inputs[0]
    held = min(max(held, _FEWEST_HELD.get(x.device.type, 1)), _MOST_HELD)
    return max(1, min(x.shape[-2], BLOCK_ELEMENTS // _pairs(inputs) // held))


def cut(inputs: Sequence[Tensor], held: int = 1) -> list[slice]:
    """The rows of x in blocks."""
    x, block = inputs[0], block_rows(inputs, held)
    n = x.shape[-2]
    if block < n and x.device.type == "cpu":
        # Memory that is never touched costs nothing, and after it glibc keeps what a block gives back for the next
        # one: pages that go to the system and come back take longer than the arithmetic on them.
        torch.empty(BLOCK_ELEMENTS, dtype=x.dtype)
    return [slice(start, min(start + block, n)) for start in range(0, n, block)]


def _of(tensors: Sequence[Tensor], wanted: Sequence[bool]) -> list[Tensor]:
    return [t for t, needed in zip(tensors, wanted, strict=True) if needed]


def _rows(tensor: Tensor, rows: slice, axis: int) -> Tensor:
    return tensor[..., rows] if axis == -1 else tensor[..., rows, :]


def _leaves(inputs: Sequence[Tensor], rows: slice, wanted: Sequence[bool]) -> list[Tensor]:
    x, *others = inputs
    return [t.detach().requires_grad_(needed) for t, needed in zip((x[..., rows, :], *others), wanted, strict=True)]
