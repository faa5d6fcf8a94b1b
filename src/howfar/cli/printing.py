"""What the commands print: text that is safe on a terminal, tables that are plain in a pipe."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from howfar._progress import silence

if TYPE_CHECKING:
    from rich.console import Console

_PATIENCE = 2.0
"""Seconds before a progress bar appears."""

_PIPE_WIDTH = 100_000
"""Wide enough that no table of a pipe is ever folded."""

_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Control, format (among them those that reverse the writing direction), surrogate and separator characters."""


def safe(text: str) -> str:
    r"""The text with every character that could steer a terminal or break a line shown as its escape.

    Example:
        >>> from howfar.cli.printing import safe
        >>> safe("red\x1b[31m\n")
        'red\\x1b[31m\\n'
    """
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _UNSAFE else char for char in text
    )


def out(text: str = "") -> None:
    """One piece of text to standard output, as it is."""
    _write(sys.stdout, text)


def complain(text: str) -> None:
    """One line to standard error."""
    with contextlib.suppress(OSError):  # there is no place left to say that there is none
        _write(sys.stderr, f"howfar: {safe(' '.join(text.split()))}")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[str] = ()) -> None:
    """A table to standard output: drawn for the width of a terminal, plain and never folded in a pipe.

    Args:
        header: one title per column.
        rows: cells as text.
        numbers: the titles of the columns that are flush right.
    """
    from rich.table import Table
    from rich.text import Text

    right = set(numbers)
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in header:
        drawn.add_column(Text(title), justify="right" if title in right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(safe(cell)) for cell in row))
    # On paper first: rich would write to a stream that may be full or closed.
    paper = io.StringIO()
    _console(paper).print(drawn)
    out("\n".join(line.rstrip() for line in paper.getvalue().splitlines()))


@contextlib.contextmanager
def progress(description: str) -> Iterator[Callable[[float], None]]:
    """A function that takes the share of the work done; on a terminal a bar follows it, from the second second on."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _ignore
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(description, total=1.0)
    timer = threading.Timer(_PATIENCE, bar.start)
    timer.daemon = True
    timer.start()
    try:
        with silence():
            yield lambda share: bar.update(task, completed=share)
    finally:
        timer.cancel()
        timer.join()
        if bar.live.is_started:
            bar.stop()


def _ignore(_share: float) -> None:
    """No one watches."""


def _console(paper: TextIO) -> Console:
    """A console that draws on paper as it would on standard output."""
    from rich.console import Console

    width = None if is_terminal() else _PIPE_WIDTH
    return Console(file=paper, force_terminal=is_terminal(), highlight=False, markup=False, emoji=False, width=width)


def is_terminal() -> bool:
    """Whether standard output is read by a person now."""
    from rich.console import Console

    return Console().is_terminal


def _write(stream: TextIO | None, text: str) -> None:
    """A line to a stream; None is one that was closed before the program began, and takes it in silence.

    A reader that has left (`| head`) is no error: the rest goes nowhere, and the exit code stays what it was.
    """
    if stream is None:
        return
    _lenient(stream)
    try:
        stream.write(text + "\n")
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from None


def _lenient(stream: Any) -> None:
    """Let a stream of a narrow encoding show an escape where it has no such character."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
