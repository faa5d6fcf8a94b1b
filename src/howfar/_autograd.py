"""Rules of differentiation that several families share.

`first_order` wraps a value whose gradient is known in closed form at fixed dual variables (the dual
functional of entropic transport, the nuclear norm of the Bures distance). Such a gradient is exact, but
differentiating it again at fixed duals would silently drop a term, so a second derivative raises instead.

`with_gradient` wraps a value whose first derivative has a program of its own, and the others that of a graph.

`opaque` carries a value through the transforms of `torch.func`, and through forward derivatives, which look for a rule
where there is a program with a graph of its own.

`no_further_derivative` ends a chain of derivatives: what depends on its origins in a way that is not followed raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DerivativeUnavailable


def first_order(name: str, value: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`value(*inputs)`, whose gradient is autograd's and whose second derivative raises by `name`.

    `value` must be such that its first derivative, with everything it closes over held fixed, is the true one.
    """
    out: Tensor = _FirstOrder.apply(name, value, *inputs)  # type: ignore[no-untyped-call]
    return out


def no_further_derivative(what: str, reason: str, gradient: Tensor, *origins: Tensor) -> Tensor:
    """`gradient` unchanged, which raises `what` and `reason` when it is itself differentiated in any of `origins`."""
    out: Tensor = _Last.apply(what, reason, gradient, *origins)  # type: ignore[no-untyped-call]
    return out


def with_gradient(
    value: Callable[..., Tensor],
    gradient: Callable[..., tuple[Tensor | None, ...]],
    graph: Callable[..., Tensor],
    *inputs: Tensor,
) -> Tensor:
    """`value(*inputs)`, with derivatives of every order.

    Args:
        value: the value, outside of any graph.
        gradient: (wanted, grad, out, *inputs) -> the vector-Jacobian product in each input, None where unwanted.
        graph: the same value as a differentiable program, evaluated when a derivative is differentiated again.
        inputs: the differentiable inputs.
    """
    if _checks.differentiated_otherwise():
        return graph(*inputs)
    if not (torch.is_grad_enabled() and any(t.requires_grad for t in inputs)):
        with torch.no_grad():
            return value(*inputs)
    out: Tensor = _WithGradient.apply(value, gradient, graph, *inputs)  # type: ignore[no-untyped-call]
    return out


def opaque(value: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`value(*inputs)`, (...), for transforms that cannot see into it; each derivative evaluates it again.

    The inputs have the same batch axes (...) in front, and an element of the value depends on its own element of theirs
    only: an axis that is mapped over is one more of them, and one cotangent serves the whole batch. `value` is
    differentiated by its own graph, as often as that allows.
    """
    out: tuple[Tensor] = _Opaque.apply(_Value(value), *inputs)  # type: ignore[no-untyped-call]
    return out[0]


def refuse_nested_forward(what: str) -> None:
    """Raise in the forward derivative of a `torch.autograd.Function` inside another: torch takes the outer one for 0."""
    if not torch._C._are_functorch_transforms_active():
        return
    stack = torch._C._functorch.get_interpreter_stack() or []
    if sum(level.key().name == "Jvp" for level in stack) > 1:
        raise DerivativeUnavailable(
            f"{what}: a forward derivative of a forward derivative is not available, because torch.func loses it. "
            "Use torch.func.hessian or jacrev for one of the two."
        )


class ReverseMode(torch.autograd.Function):
    """A step that carries no forward derivatives, and says so."""

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:  # noqa: ARG004
        raise DerivativeUnavailable(
            "forward derivatives: this result carries none. Use reverse mode: backward, or torch.autograd.grad."
        )


class _WithGradient(ReverseMode):
    @staticmethod
    def forward(
        ctx: Any,
        value: Callable[..., Tensor],
        gradient: Callable[..., tuple[Tensor | None, ...]],
        graph: Callable[..., Tensor],
        *inputs: Tensor,
    ) -> Tensor:
        ctx.gradient, ctx.graph = gradient, graph
        out = value(*inputs)
        ctx.save_for_backward(out, *inputs)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        out, *inputs = ctx.saved_tensors
        wanted = list(ctx.needs_input_grad[3:])
        if not torch.is_grad_enabled():
            found = ctx.gradient(wanted, grad, out, *inputs)
            return (None, None, None, *(g if needed else None for g, needed in zip(found, wanted, strict=True)))
        # Views: one input may be a function of another, and what is asked for is the partial derivative.
        inputs = [t.view_as(t) for t in inputs]
        asked = [t for t, needed in zip(inputs, wanted, strict=True) if needed]
        grads = iter(torch.autograd.grad(ctx.graph(*inputs), asked, grad, create_graph=True, allow_unused=True))
        return (None, None, None, *(next(grads) if needed else None for needed in wanted))


class _FirstOrder(ReverseMode):
    @staticmethod
    def forward(ctx: Any, name: str, value: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        ctx.name, ctx.value = name, value
        ctx.save_for_backward(*inputs)
        return value(*inputs).detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        wanted = [i for i, needed in enumerate(ctx.needs_input_grad[2:]) if needed]
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_(i in wanted) for i, t in enumerate(inputs)]
            value = ctx.value(*leaves)
            grads = torch.autograd.grad(value, [leaves[i] for i in wanted], grad.detach(), allow_unused=True)
        out: list[Tensor | None] = [None] * len(inputs)
        for i, g in zip(wanted, grads, strict=True):
            if g is not None:
                reason = "they need the derivative of the dual variables as well"
                out[i] = no_further_derivative(f"{ctx.name}: second", reason, g, grad, *inputs)
        return (None, None, *out)


class _Last(ReverseMode):
    @staticmethod
    def forward(ctx: Any, what: str, reason: str, gradient: Tensor, *origins: Tensor) -> Tensor:  # noqa: ARG004
        ctx.what, ctx.reason = what, reason
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:  # noqa: ARG004
        raise DerivativeUnavailable(
            f"{ctx.what} derivatives are not available, because {ctx.reason}. "
            "Use lower derivatives only (create_graph=False), or differentiate numerically."
        )


@dataclass(frozen=True)
class _Value:
    """A function of one result as one of several."""

    value: Callable[..., Tensor]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return (self.value(*inputs),)


@dataclass(frozen=True)
class _Pullback:
    """(cotangents, inputs) -> the vector-Jacobian product of a program in each input that is wanted."""

    program: Callable[..., tuple[Tensor, ...]]
    wanted: tuple[bool, ...]

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        again = torch.is_grad_enabled()
        count = len(arguments) - len(self.wanted)
        cotangents, inputs = arguments[:count], arguments[count:]
        with torch.enable_grad():
            names = [t.view_as(t) if again and t.requires_grad else t.detach().requires_grad_() for t in inputs]
            asked = [t for t, needed in zip(names, self.wanted, strict=True) if needed]
            out = [(o, c) for o, c in zip(self.program(*names), cotangents, strict=True) if o.requires_grad]
            grads = torch.autograd.grad([o for o, _ in out], asked, [c for _, c in out], None, again, allow_unused=True)
        return tuple(torch.zeros_like(t) if g is None else g for t, g in zip(asked, grads, strict=True))


class _Opaque(torch.autograd.Function):
    @staticmethod
    def forward(program: Callable[..., tuple[Tensor, ...]], *inputs: Tensor) -> tuple[Tensor, ...]:
        return program(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.program, *tensors = inputs
        ctx.shape = output[0].shape
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        wanted = tuple(ctx.needs_input_grad[1:])
        grads = iter(_Opaque.apply(_Pullback(ctx.program, wanted), *cotangents, *ctx.saved_tensors))  # type: ignore[no-untyped-call]
        return (None, *(next(grads) if needed else None for needed in wanted))

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor) -> tuple[Tensor, ...]:
        refuse_nested_forward("howfar")
        program, inputs = ctx.program, ctx.saved_tensors
        if isinstance(program, _Value):
            every = _Pullback(program, (True,) * len(inputs))
            cotangent = inputs[0].new_ones(ctx.shape)
            gradients = _Opaque.apply(every, cotangent, *inputs)  # type: ignore[no-untyped-call]
            moved = (g * t for g, t in zip(gradients, tangents, strict=True))
            return (sum((t.reshape(*ctx.shape, -1).sum(-1) for t in moved), torch.zeros_like(cotangent)),)
        if not isinstance(program.program, _Value):
            raise DerivativeUnavailable(
                "howfar: second derivatives carry no forward derivative. Use torch.func.jacrev for the third order."
            )
        # A Hessian is symmetric: what a tangent does to the gradient is the gradient of the gradient along it.
        cotangent, *origins = inputs
        along = _Pullback(_Pullback(program.program, (True,) * len(origins)), (False, *program.wanted))
        turned = _Opaque.apply(along, *tangents[1:], *inputs)  # type: ignore[no-untyped-call]
        scaled = _Opaque.apply(program, tangents[0], *origins)  # type: ignore[no-untyped-call]
        return tuple(s + t for s, t in zip(scaled, turned, strict=True))

    @staticmethod
    def vmap(info: Any, places: tuple[int | None, ...], program: Any, *inputs: Tensor) -> tuple[Any, Any]:
        size = info.batch_size
        moved = [
            t.expand(size, *t.shape) if d is None else t.movedim(d, 0) for t, d in zip(inputs, places[1:], strict=True)
        ]
        out = _Opaque.apply(program, *moved)  # type: ignore[no-untyped-call]
        return out, (0,) * len(out)
