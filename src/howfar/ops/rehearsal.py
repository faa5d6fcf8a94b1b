"""A call of an op without its reduction: what it decides, and which kernels it would start.

`explain` cannot drift from what runs, as it runs the op itself: backends are chosen, forms and precisions arranged and
calls prepared by the same lines, and only the kernels at their end are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from howfar import _native


class Elsewhere(Exception):
    """Ends a rehearsal: the op would go on in another backend than that of the compiled kernels."""


@dataclass
class Rehearsal:
    """What an op did in it.

    Attributes:
        backend: the one chosen.
        reasons: backend -> why it cannot run this call; empty where it can.
        arranged: for each arrangement of points its base, dtype, sharpness, largest squared norm and what came out.
        calls: (kernel, whether in float32, arguments) of every start of a kernel.
    """

    backend: str = ""
    reasons: dict[str, str] = field(default_factory=dict)
    arranged: list[tuple[Any, ...]] = field(default_factory=list)
    calls: list[tuple[str, bool, _native.Pairs]] = field(default_factory=list)


_current: ContextVar[Rehearsal | None] = ContextVar("rehearsal", default=None)


@contextmanager
def rehearsed() -> Iterator[Rehearsal]:
    """Ops called meanwhile, in this thread, compute nothing: what they return is without meaning."""
    rehearsal = Rehearsal()
    token = _current.set(rehearsal)
    try:
        yield rehearsal
    except Elsewhere:
        return
    finally:
        _current.reset(token)


def current() -> Rehearsal | None:
    """The rehearsal that is going on; None where ops are in earnest."""
    return _current.get()


def call(kernel: str, single: bool, pairs: _native.Pairs) -> None:
    """`_native.call`, or a line in the rehearsal."""
    rehearsal = _current.get()
    if rehearsal is None:
        _native.call(kernel, single, pairs)
    else:
        rehearsal.calls.append((kernel, single, _native.Pairs.from_buffer_copy(pairs)))
