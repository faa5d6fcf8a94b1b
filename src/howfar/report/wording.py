"""Numbers and names as a reader sees them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from howfar.report import numbers

if TYPE_CHECKING:
    from markupsafe import Markup

# Besides control characters: line separators, and the marks that turn the direction of a text and so disguise it.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_JOINT = re.compile(r"(?<=[_./-])(?=\w)")
_LONGEST_TEXT = 160
_NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"
_NOTHING = "\N{EM DASH}"


def clean(value: Any) -> Any:
    """The same document with texts that any HTML file can hold: no control characters, no lone surrogates."""
    if isinstance(value, str):
        return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value.encode("utf-8", "replace").decode("utf-8"))
    if isinstance(value, Mapping):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [clean(item) for item in value]
    return value


def name(text: str) -> str:
    """A column name or a label."""
    return brief(text) if text.strip() else "(blank)"


def brief(text: str) -> str:
    """A text, shortened in the middle where it is very long."""
    if len(text) <= _LONGEST_TEXT:
        return text
    half = _LONGEST_TEXT // 2
    return f"{text[:half]}\N{HORIZONTAL ELLIPSIS}{text[-half:]}"


def breakable(text: str) -> Markup:
    """A name as HTML that may break a line after the signs that join its words."""
    from markupsafe import Markup

    return Markup("<wbr>").join(_JOINT.split(name(text)))


def number(value: object) -> str:
    """A number with true signs and its thousands apart; texts as they are, a dash for nothing."""
    if value is None:
        return _NOTHING
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return brief(str(value))
    return _typeset(numbers.number(value))


def share(value: float | None) -> str:
    """A share 0..1 as a percentage."""
    return _NOTHING if value is None else _typeset(numbers.share(value).replace("<", "< ").replace(">", "> "))


def p_value(value: float | None) -> str:
    """A p-value."""
    return _NOTHING if value is None else _typeset(numbers.p_value(value))


def _typeset(text: str) -> str:
    """A number in ASCII as one in print: a true minus, and thousands apart from the fifth digit on."""
    whole = re.match(r"-?(\d{5,})", text)
    if whole:
        text = text.replace(whole[1], f"{int(whole[1]):,}", 1)
    return text.replace(",", _NARROW_SPACE).replace(" ", _NARROW_SPACE).replace("-", "\N{MINUS SIGN}")


def arrows(text: str) -> str:
    """The arrows of plain text as true ones."""
    return text.replace("->", "\N{RIGHTWARDS ARROW}")


def repeat(reference: str, current: str, settings: Mapping[str, Any]) -> str:
    """What to type to make this comparison again: a command for two files, a call for two tables in memory."""
    if not (PurePath(reference).suffix and PurePath(current).suffix):
        return _call(settings)
    words = ["howfar", "compare", reference, current, "--alpha", str(settings["alpha"])]
    if settings["tolerance"] is not None:
        words += ["--tolerance", str(settings["tolerance"])]
    if settings["columns"] is not None:
        words += ["--columns", ",".join(settings["columns"])]
    return shlex.join(words)


def _call(settings: Mapping[str, Any]) -> str:
    names = [
        key for key in ("columns", "alpha", "tolerance", "n_permutations", "max_rows") if settings[key] is not None
    ]
    options = [f"{key}={settings[key]!r}" for key in names]
    if settings["seed"] is not None:
        options.append(f"generator=torch.Generator().manual_seed({settings['seed']})")
    return f"howfar.compare(reference, current, {', '.join(options)})"
