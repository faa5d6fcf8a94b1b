"""Costs and kernels as text, because the arguments of a registered op are tensors, numbers and text.

The text is the Python expression that makes the object: `Power(Euclidean(), 3.0)`. A bandwidth for each batch element
is a tensor; it travels beside the text, which calls it `s[0]`, `s[1]`, and so on.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from howfar import costs, kernels
from howfar._errors import DomainError, ShapeError, complaint

Summand = costs.Cost | kernels.Kernel | kernels.Stack

_ROOMS = (costs, kernels)
_ROOM_NAMES = tuple(room.__name__ for room in _ROOMS)


def spell(summand: Summand, tensors: list[Tensor]) -> str | None:
    """The text of this cost or kernel; None for one that is not of the house. Its tensors are appended to `tensors`."""
    kind = type(summand)
    if kind.__module__ not in _ROOM_NAMES or kind is costs.Custom:
        return None
    names: tuple[str, ...] = kind.__match_args__
    fields = [_spelt(getattr(summand, name), tensors) for name in names]
    return None if None in fields else f"{kind.__name__}({', '.join(str(field) for field in fields)})"


def _spelt(value: Any, tensors: list[Tensor]) -> str | None:
    if isinstance(value, Summand):
        return spell(value, tensors)
    if isinstance(value, tuple):
        parts = [_spelt(part, tensors) for part in value]
        return None if None in parts else f"({' '.join(f'{part},' for part in parts)})"
    if isinstance(value, Tensor):
        tensors.append(value)
        return f"s[{len(tensors) - 1}]"
    return repr(value)


def read(text: str, tensors: Sequence[Tensor] = ()) -> Summand:
    """The cost or kernel of a text of `spell`."""
    return _read(text, tensors) if tensors else _remembered(text)


def together(tensors: Sequence[Tensor], batch: torch.Size, like: Tensor) -> Tensor:
    """The bandwidths of `spell` as one tensor (..., t), that an operator takes."""
    if not tensors:
        return like.new_empty(0)
    return torch.stack([_for_each(s[..., 0, 0], batch) for s in tensors], -1)


def _for_each(bandwidths: Tensor, batch: torch.Size) -> Tensor:
    try:
        return bandwidths.expand(batch)
    except RuntimeError:
        expected = f"bandwidths that broadcast to the batch shape {tuple(batch)} of the points"
        fix = "Pass a number, or a number for each problem of the batch."
        raise ShapeError(complaint("s", expected, f"shape {tuple(bandwidths.shape)}", fix)) from None


def apart(tensors: Tensor) -> Sequence[Tensor]:
    """The bandwidths that `together` made one tensor of."""
    return [s[..., None, None] for s in tensors.unbind(-1)] if tensors.numel() else ()


@functools.lru_cache(maxsize=256)
def _remembered(text: str) -> Summand:
    return _read(text, ())


def _read(text: str, tensors: Sequence[Tensor]) -> Summand:
    try:
        summand = _built(ast.parse(text, mode="eval").body, tensors)
        if isinstance(summand, Summand):
            return summand
    except (SyntaxError, ValueError, AttributeError, IndexError, TypeError, StopIteration):
        pass
    raise DomainError(
        complaint(
            "cost or kernel",
            "the text of one",
            repr(text),
            "Call howfar.ops, which writes it: 'Power(Euclidean(), 3.0)'.",
        )
    )


def _built(node: ast.expr, tensors: Sequence[Tensor]) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        name = node.func.id
        room = next(room for room in _ROOMS if name in room.__all__)
        kind = getattr(room, name)
        made = object.__new__(kind)
        # What came from an object was checked there, and a tensor of bandwidths has its shape already.
        for field, part in zip(kind.__match_args__, node.args, strict=True):
            object.__setattr__(made, field, _built(part, tensors))
        return made
    if isinstance(node, ast.Tuple):
        return tuple(_built(part, tensors) for part in node.elts)
    if isinstance(node, ast.Subscript):
        return tensors[ast.literal_eval(node.slice)]
    return ast.literal_eval(node)
