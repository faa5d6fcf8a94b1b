"""Operators of torch, with the shape of their result, their derivative, and the batch rule of `torch.func.vmap`.

To torch an operator is one opaque step: a compiled graph calls the kernels, and no transform sees inside. Every tensor
among its arguments and results has the batch axes in front, so an axis that is mapped over is one more of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch._functorch.autograd_function as functorch
from torch import Tensor
from torch._C import DispatchKey, _AutoDispatchBelowAutograd
from torch.autograd.function import _SingleLevelFunction

from howfar import _checks
from howfar._errors import DerivativeUnavailable

_LIBRARY = torch.library.Library("howfar", "DEF")
_single_level: Callable[[], AbstractContextManager[None]] = functorch.enable_single_level_autograd_function  # type: ignore[attr-defined]
_AUTOGRAD = (DispatchKey.AutogradFunctionality, DispatchKey.AutogradOther, DispatchKey.AutogradNestedTensor)


def _keys(tensor: Tensor) -> int:
    """What torch's dispatcher sees of a tensor: its device, layout, views that change numbers, levels of transforms."""
    keys: int = torch._C._dispatch_keys(tensor).raw_repr()
    return keys


PLAIN_TYPES = (Tensor, torch.nn.Parameter)
"""Others may see or change what is done with them."""
with torch.inference_mode():
    _PLAIN = {_keys(torch.empty(0))}
_PLAIN.add(_keys(torch.empty(0)))


def unwatched(tensors: Iterable[Tensor]) -> bool:
    """Whether nobody sees a call on these tensors: they are plain ones on the CPU, and no graph, mode or transform records.

    The operator would then do nothing but what it was registered with.
    """
    if _checks.transformed() or torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack():
        return False
    graph = torch.is_grad_enabled()
    for t in tensors:  # noqa: SIM110 -- a generator would take longer than what it asks
        if _keys(t) not in _PLAIN or (graph and t.requires_grad) or type(t) not in PLAIN_TYPES:
            return False
    return True


def define(
    schema: str,
    call: Callable[..., Any],
    shape: Callable[..., Any],
    remember: Callable[..., None],
    backward: Callable[..., tuple[Tensor | None, ...]],
) -> Any:
    """Register `howfar::NAME` and return it.

    Args:
        schema: "NAME(Tensor x, ...) -> Tensor".
        call: computes it, on any device; what it returns is dense and shares no memory with its arguments.
        shape: the same for tensors without values.
        remember: (ctx, arguments, result), which saves what `backward` uses.
        backward: (ctx, *gradients) -> a gradient or None for each argument, from operations that have derivatives.
    """
    name = schema.split("(")[0]
    _LIBRARY.define(schema)
    operator = getattr(torch.ops.howfar, name).default
    step: Any = type(name, (_Step,), {"remember": staticmethod(remember), "derivative": staticmethod(backward)})

    def with_derivative(*arguments: Any) -> Any:
        graph = torch.is_grad_enabled() and torch._C._any_requires_grad(*arguments)
        if graph or torch.autograd.forward_ad._current_level >= 0:
            # Transforms have come down to one level by now: this is the autograd of that level.
            with _single_level():
                return step.apply(operator, *arguments)
        with _AutoDispatchBelowAutograd():
            return operator(*arguments)

    def mapped(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> Any:
        moved = [_in_front(argument, d, info.batch_size) for argument, d in zip(arguments, in_dims, strict=True)]
        out = operator(*moved)
        return out, tuple(map(_place, out)) if isinstance(out, tuple) else _place(out)

    _LIBRARY.impl(name, call, "CompositeExplicitAutograd")
    _LIBRARY.impl(name, with_derivative, "Autograd")
    torch.library.register_fake(f"howfar::{name}", shape, lib=_LIBRARY)
    torch.library.register_vmap(f"howfar::{name}", mapped, lib=_LIBRARY)
    return operator


def recording() -> AbstractContextManager[object]:
    """A region inside an operator where autograd records again."""
    excluded = torch._C._dispatch_tls_local_exclude_set()
    for key in _AUTOGRAD:
        excluded = excluded.remove(key)
    return torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded)


def _place(result: Tensor) -> int | None:
    """Of the batch; what was not asked for is empty, and alike for all."""
    return 0 if result.ndim > 1 else None


def _in_front(argument: Any, place: int | None, size: int) -> Any:
    if not isinstance(argument, Tensor):
        return argument
    return argument.expand(size, *argument.shape) if place is None else argument.movedim(place, 0)


class _Step(_SingleLevelFunction):
    """An operator as a node of the graph."""

    remember: Callable[..., None]
    derivative: Callable[..., tuple[Tensor | None, ...]]

    @classmethod
    def forward(cls, ctx: Any, operator: Any, *arguments: Any) -> Any:
        # The levels of torch.func below this one have graphs of their own.
        with torch.set_grad_enabled(torch._C._are_functorch_transforms_active()), _AutoDispatchBelowAutograd():
            out = operator(*arguments)
        ctx.operator = operator
        cls.remember(ctx, arguments, out)
        return out

    @classmethod
    def backward(cls, ctx: Any, *grads: Tensor) -> Any:
        return (None, *cls.derivative(ctx, *grads))

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:  # noqa: ARG004
        raise DerivativeUnavailable(
            f"{ctx.operator}: it carries no forward derivatives. Call it through howfar.ops, which evaluates plain torch "
            "where they are asked for, or use reverse mode: backward, torch.func.vjp, jacrev."
        )
