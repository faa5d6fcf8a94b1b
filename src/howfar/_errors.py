"""The errors and warnings of the house: each names the argument, what came, what was expected, the fix."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable


class HowfarError(ValueError):
    """Base of every error that howfar raises on purpose."""


class ShapeError(HowfarError):
    """An argument has the wrong shape."""


class DomainError(HowfarError):
    """An argument has the right shape and a value outside its domain."""


class UnknownName(HowfarError):
    """A name that no table of the house holds."""


class BackendUnavailable(HowfarError):
    """A backend was asked for by name and cannot run here."""


class DerivativeUnavailable(HowfarError):
    """A derivative of this order does not exist in the house yet; the message says which one does."""


class DataError(HowfarError):
    """A file or a table cannot be read or compared."""


class HowfarWarning(UserWarning):
    """Base of every warning that howfar gives."""


class NotConverged(HowfarWarning):
    """A solver stopped before it reached what was asked; the message has the figure and the remedy."""


def warn(message: str, category: type[HowfarWarning]) -> None:
    """Warn at the line of the caller's own code, however many rooms of the house, or of torch, lie between."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("howfar", "torch"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level + 1)


def complaint(argument: str, expected: str, got: str, fix: str) -> str:
    """One sentence for a bad argument: its name, what was expected, what came, and the fix."""
    return f"{argument}: expected {expected}, got {got}. {fix}"


def unknown_name(argument: str, name: object, known: Iterable[str]) -> UnknownName:
    """The error for a name outside `known`, with the nearest known name in front."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name).lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    nearest = next((n for n in names if close and n.lower() == close[0]), None)
    fix = f"Did you mean {nearest!r}?" if nearest else f"Pass one of {', '.join(names)}."
    return UnknownName(complaint(argument, f"one of {', '.join(names)}", repr(name), fix))
