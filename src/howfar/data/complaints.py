"""Errors about sources: one line, the source first."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from howfar._errors import DataError, complaint

_UNPACKED_LEAST = 2**30
_UNPACKED_RATIO = 200


def refuse(source: object, expected: str, got: str, fix: str) -> DataError:
    """The error for a source that cannot be read, on one line whatever the names in it hold."""
    return DataError(" ".join(complaint(str(source), expected, got, fix).split()))


def nearest(name: str, known: Iterable[str], fix: str) -> str:
    """'Did you mean ...?' where a known name is close, else `fix`."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else fix


def listed(names: Iterable[object], most: int = 6) -> str:
    """Names for a sentence: the first few, and how many more."""
    texts = [repr(n) if isinstance(n, str) else str(n) for n in names]
    rest = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {rest} more" if rest > 0 else "")


def check_unpacked(source: object, packed: int, unpacked: int) -> None:
    """Refuse an archive that claims to unpack into far more than compression of data gives."""
    if unpacked > _UNPACKED_LEAST and unpacked > _UNPACKED_RATIO * packed:
        raise refuse(
            source,
            f"data that unpacks to at most {_UNPACKED_RATIO} times its size",
            f"{packed} bytes that unpack to {unpacked} or more",
            "Unpack it yourself if you trust it, and pass the result.",
        )
