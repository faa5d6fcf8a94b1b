"""Rules of differentiation that several families share.

`first_order` wraps a value whose gradient is known in closed form at fixed dual variables (the dual
functional of entropic transport, the nuclear norm of the Bures distance). Such a gradient is exact, but
differentiating it again at fixed duals would silently drop a term, so a second derivative raises instead.

`with_gradient` wraps a value whose first derivative has a program of its own, and the others that of a graph.

`no_further_derivative` ends a chain of derivatives: what depends on its origins in a way that is not followed raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

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
    if not (torch.is_grad_enabled() and any(t.requires_grad for t in inputs)):
        with torch.no_grad():
            return value(*inputs)
    out: Tensor = _WithGradient.apply(value, gradient, graph, *inputs)  # type: ignore[no-untyped-call]
    return out


class _WithGradient(torch.autograd.Function):
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


class _FirstOrder(torch.autograd.Function):
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


class _Last(torch.autograd.Function):
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
