"""How far a long computation is: a line on a terminal, once it has lasted, and nothing elsewhere.

Tasks nest, and there is one line: a task inside of another tells its stage through that one, unless that one tells its
own share of the work.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_PATIENCE = 1.0
"""Seconds that nobody needs to be told about."""


class _Open(threading.local):
    """The task that a thread is in."""

    task: Progress | None = None


_OPEN = _Open()


class Progress:
    """Shows what it is told while standard error is a terminal and the patience is over; takes its line away at the end.

    Use as a context manager, and call it, or `tell`, with the stage that begins or goes on.

    Args:
        task: what is being computed.
    """

    def __init__(self, task: str) -> None:
        """Look at the clock."""
        self._task = task
        self._due = time.monotonic() + _PATIENCE
        self._bar: Bar | None = None
        self._speaks_alone = False
        self._around: Progress | None = None

    def __enter__(self) -> Self:
        """Itself."""
        self._around, _OPEN.task = _OPEN.task, self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        _OPEN.task = self._around
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, stage: str, share: float | None = None) -> None:
        """The stage, and the share of the task that is done where it is known."""
        if self._around is not None:
            if not self._around._speaks_alone:
                self._around(f"{self._task}: {stage}")
            return
        self._speaks_alone = self._speaks_alone or share is not None
        if self._bar is None:
            if time.monotonic() < self._due or sys.stderr is None or not sys.stderr.isatty():
                return
            self._bar = _opened(f"{self._task}: {stage}")
        total = None if share is None else 1.0
        self._bar.update(self._bar.task_ids[0], description=f"{self._task}: {stage}", total=total, completed=share or 0)


def tell(stage: str, share: float | None = None) -> None:
    """The stage of the task that this thread is in, where it is in one."""
    if _OPEN.task is not None:
        _OPEN.task(stage, share)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing is shown from inside: the caller has a line of its own."""
    with Progress("") as progress:
        progress._speaks_alone = True
        progress._due = float("inf")
        yield


def _opened(description: str) -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    bar.add_task(description, total=None)
    bar.start()
    return bar
