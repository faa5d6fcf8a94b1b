"""How far a long computation is: a line on a terminal, once it has lasted, and nothing elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_PATIENCE = 2.0
"""Seconds that nobody needs to be told about."""


class Progress:
    """Shows what it is told while standard error is a terminal and the patience is over; takes its line away at the end.

    Use as a context manager, and call it with the stage that begins or goes on.

    Args:
        task: what is being computed.
    """

    def __init__(self, task: str) -> None:
        """Look at the clock."""
        self._task = task
        self._due = time.monotonic() + _PATIENCE
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, stage: str, share: float | None = None) -> None:
        """The stage, and the share of the task that is done where it is known."""
        if self._bar is None:
            if sys.stderr is None or not sys.stderr.isatty() or time.monotonic() < self._due:
                return
            self._bar = _opened(f"{self._task}: {stage}")
        total = None if share is None else 1.0
        self._bar.update(self._bar.task_ids[0], description=f"{self._task}: {stage}", total=total, completed=share or 0)


def _opened(description: str) -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    bar.add_task(description, total=None)
    bar.start()
    return bar
