"""A reduction over all pairs, as three operators of torch: its value, its derivative, the derivative of that.

`howfar::softmin` is the value. `howfar::softmin_backward` is its vector-Jacobian product, from the compiled kernels
where they have it. `howfar::softmin_double_backward` differentiates the product, in blocks of plain torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar.costs import Cost
from howfar.ops import backends, library, spelling
from howfar.ops.precision import without_autocast
from howfar.ops.spelling import Summand
from howfar.ops.streaming import Blocks, by_rows, no_third_derivative

Result = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Formula:
    """What a reduction computes.

    Attributes:
        name: of its operator.
        inputs: the differentiable tensors, x and y first.
        constants: the tensor that no derivative flows into: temperatures, or the bandwidths of the summand.
        summand: "cost" or "kernel".
        axis: the axis of the result that runs over n, counted from the end.
        shape: (inputs, summand) -> the shape of the result.
        rows: (*inputs, constants, summand) on some rows of x, in plain torch.
        why: (summand, *inputs) -> why the compiled kernels cannot take it; None where they can.
        forward: (keep, *inputs, constants, summand) -> the value from them, and what `gradient` can use of that pass.
        gradient: (wanted, grad, inputs, kept, constants, summand) -> the vector-Jacobian product from them, or None.
        keeps: whether `forward` keeps the value, and `keep` numbers for each row: one, or 1 + d where x has a derivative.
    """

    name: str
    inputs: tuple[str, ...]
    constants: str
    summand: str
    axis: int
    shape: Callable[[Sequence[Tensor], Any], tuple[int, ...]]
    rows: Callable[..., Tensor]
    why: Callable[..., str | None]
    forward: Callable[..., tuple[Tensor, tuple[Tensor, ...]]]
    gradient: Callable[..., Sequence[Tensor | None] | None]
    keeps: bool = False


class Reduction:
    """The operators of a formula, behind one call."""

    def __init__(self, formula: Formula) -> None:
        """Register them."""
        self.formula = formula
        self._many, self._kept = len(formula.inputs), 2 if formula.keeps else 0
        name, keeps, what = formula.name, formula.keeps, f"str {formula.summand}"
        tensors = ", ".join(f"Tensor {t}" for t in (*formula.inputs, formula.constants))
        outer = ", ".join(f"Tensor outer_{t}" for t in formula.inputs)
        each = ", ".join("Tensor" for _ in formula.inputs)
        self._operator = library.define(
            f"{name}({tensors}, {what}, str backend{', int keep' if keeps else ''}) "
            f"-> {'(Tensor, Tensor)' if keeps else 'Tensor'}",
            self._value,
            self._value_shape,
            self._remember_value,
            self._differentiate_value,
        )
        self._gradient_operator = library.define(
            f"{name}_backward(Tensor grad, {'Tensor value, Tensor kept, ' if keeps else ''}{tensors}, {what}, "
            f"str backend, bool[] wanted) -> ({each})",
            self._gradient,
            self._gradient_shape,
            self._remember_gradient,
            self._differentiate_gradient,
        )
        self._second_operator = library.define(
            f"{name}_double_backward({outer}, Tensor grad, {tensors}, {what}, bool[] wanted) -> (Tensor, {each})",
            self._second,
            self._second_shape,
            lambda *_: None,
            self._differentiate_second,
        )

    def __call__(self, *inputs: Tensor, summand: Summand, backend: str, constants: Tensor | None = None) -> Tensor:
        """The value. Constants that are left out are the bandwidths of the summand."""
        tensors: list[Tensor] = []
        text = spelling.spell(summand, tensors)
        if text is not None and not tensors and library.unwatched(inputs):
            constants = constants.detach() if constants is not None and constants.requires_grad else constants
            return self._computed(0, inputs, constants, summand, backend)[0]
        if constants is None:
            constants = spelling.together(tensors, inputs[0].shape[:-2], inputs[0])
        if text is None or torch.autograd.forward_ad._current_level >= 0:
            backends.choose(backend, self.formula.name, inputs[0].device, lambda: self._why_plain(summand, inputs))
            closed = summand.batched if isinstance(summand, Cost) else True
            return by_rows(self._blocks(inputs, constants, summand), *inputs, closed=closed)
        constants = constants.detach() if constants.requires_grad else constants
        if not self._kept:
            value: Tensor = self._operator(*inputs, constants, text, backend)
            return value
        keep = 0
        if torch.is_grad_enabled() and any(t.requires_grad for t in inputs):
            keep = 1 + inputs[0].shape[-1] if inputs[0].requires_grad else 1
        value, _ = self._operator(*inputs, constants, text, backend, keep)
        return value

    def _why_plain(self, summand: Summand, inputs: Sequence[Tensor]) -> str:
        return self.formula.why(summand, *inputs) or "its kernels carry no forward derivatives"

    def _blocks(self, inputs: Sequence[Tensor], constants: Tensor | None, summand: Summand) -> Blocks:
        rows = lambda *block: self.formula.rows(*block, constants, summand)
        return Blocks(rows, self.formula.axis, summand.held(inputs[0].shape[-1]))

    def _read(self, text: str, constants: Tensor) -> Summand:
        return spelling.read(text, spelling.apart(constants) if self.formula.summand == "kernel" else ())

    def _native(self, summand: Summand, backend: str, inputs: Sequence[Tensor]) -> bool:
        reason = lambda: self.formula.why(summand, *inputs)
        return backends.choose(backend, self.formula.name, inputs[0].device, reason) == "cpu"

    # The value: (*inputs, constants, text, backend[, keep]).

    def _value(self, *arguments: Any) -> Any:
        inputs, (constants, text, backend, *keep) = arguments[: self._many], arguments[self._many :]
        x = inputs[0]
        value, kept = self._computed(keep[0] if keep else 0, inputs, constants, self._read(text, constants), backend)
        if not keep:
            return value
        # What is kept has that shape whatever the data; where there is nothing it is infinite.
        return value, kept[0] if kept else x.new_full((*x.shape[:-1], keep[0]), torch.inf)

    def _computed(
        self, keep: int, inputs: Sequence[Tensor], constants: Tensor | None, summand: Summand, backend: str
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        if not self._native(summand, backend, inputs):
            return self._blocks(inputs, constants, summand).value(*inputs), ()
        with without_autocast(inputs[0].device):
            return self.formula.forward(keep, *inputs, constants, summand)

    def _value_shape(self, *arguments: Any) -> Any:
        inputs = arguments[: self._many]
        x = inputs[0]
        value = x.new_empty(self.formula.shape(inputs, self._read(arguments[self._many + 1], arguments[self._many])))
        return (value, x.new_empty((*x.shape[:-1], arguments[-1]))) if self._kept else value

    def _remember_value(self, ctx: Any, arguments: tuple[Any, ...], result: Any) -> None:
        tensors, (ctx.text, ctx.backend) = arguments[: self._many + 1], arguments[self._many + 1 : self._many + 3]
        if self._kept:
            ctx.mark_non_differentiable(result[1])
            ctx.set_materialize_grads(False)
        ctx.save_for_backward(*(result if self._kept else ()), *tensors)

    def _differentiate_value(self, ctx: Any, grad: Tensor | None, *_: Any) -> Result:
        constants = (None,) * (4 if self._kept else 3)
        if grad is None:
            return (*(None,) * self._many, *constants)
        wanted = list(ctx.needs_input_grad[1 : self._many + 1])
        saved = ctx.saved_tensors
        # The derivative of the derivative is that of the formula, whatever was kept on the way.
        kept = (t.detach() for t in saved[: self._kept])
        grads = self._gradient_operator(grad, *kept, *saved[self._kept :], ctx.text, ctx.backend, wanted)
        return (*(g if needed else None for g, needed in zip(grads, wanted, strict=True)), *constants)

    # Its derivative: (grad[, value, kept], *inputs, constants, text, backend, wanted).

    def _gradient(self, grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        kept, inputs = arguments[: self._kept], arguments[self._kept : -4]
        constants, text, backend, wanted = arguments[-4:]
        summand = self._read(text, constants)
        found: Sequence[Tensor | None] | None = None
        if self._native(summand, backend, inputs):
            if kept and (not kept[1].numel() or bool(kept[1].flatten()[0].isinf())):
                kept = ()
            with without_autocast(grad.device):
                found = self.formula.gradient(wanted, grad, inputs, kept, constants, summand)
        if found is None:
            with library.recording():
                streamed = iter(self._blocks(inputs, constants, summand).gradient(wanted, grad, inputs))
            found = [next(streamed) if needed else None for needed in wanted]
        return tuple(t.new_empty(0) if g is None else g.contiguous() for g, t in zip(found, inputs, strict=True))

    def _gradient_shape(self, *arguments: Any) -> tuple[Tensor, ...]:
        inputs, wanted = arguments[1 + self._kept : -4], arguments[-1]
        return tuple(t.new_empty(t.shape if needed else 0) for t, needed in zip(inputs, wanted, strict=True))

    def _remember_gradient(self, ctx: Any, arguments: tuple[Any, ...], result: Any) -> None:  # noqa: ARG002
        grad, inputs, (constants, ctx.text, _, ctx.wanted) = (
            arguments[0],
            arguments[1 + self._kept : -4],
            arguments[-4:],
        )
        ctx.save_for_backward(grad, *inputs, constants)

    def _differentiate_gradient(self, ctx: Any, *outer: Tensor) -> Result:
        grad, *inputs, constants = ctx.saved_tensors
        blocks = self._blocks(inputs, constants, self._read(ctx.text, constants))
        seconds: Sequence[Tensor | None]
        if blocks.few(inputs) and not _checks.transformed():
            asked = [o for o, needed in zip(outer, ctx.wanted, strict=True) if needed]
            seconds = blocks.second_at_once(ctx.wanted, asked, grad, inputs)
        else:
            seconds = self._second_operator(*outer, grad, *inputs, constants, ctx.text, ctx.wanted)
        return (seconds[0], *(None,) * self._kept, *seconds[1:], None, None, None, None)

    # The derivative of that: (*outer, grad, *inputs, constants, text, wanted).

    def _second(self, *arguments: Any) -> tuple[Tensor, ...]:
        outer, (grad, *inputs), (constants, text, wanted) = (
            arguments[: self._many],
            arguments[self._many : -3],
            arguments[-3:],
        )
        asked = [o for o, needed in zip(outer, wanted, strict=True) if needed]
        with library.recording():
            blocks = self._blocks(inputs, constants, self._read(text, constants))
            return tuple(blocks.second(wanted, asked, grad, inputs))

    def _second_shape(self, *arguments: Any) -> tuple[Tensor, ...]:
        return tuple(t.new_empty(t.shape) for t in arguments[self._many : -3])

    def _differentiate_second(self, ctx: Any, *grads: Any) -> Result:  # noqa: ARG002
        raise no_third_derivative()
