"""The command line: strings in, exit code out; no mathematics."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `howfar` with these arguments, those of the process when left out, and leave with its exit code."""
    from howfar.cli.application import run

    sys.exit(run(arguments))
