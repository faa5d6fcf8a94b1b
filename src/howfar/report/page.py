"""The page: a document read into what each part of the template shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from howfar._errors import DataError, complaint
from howfar.report import charts, wording

if TYPE_CHECKING:
    from jinja2 import Environment

_SHOWN_COLUMNS = 24
_SHOWN_LEVELS = 8
_SHOWN_NAMES = 12
_SHOWN_ROWS = 8


@dataclass(frozen=True)
class Card:
    """One column: its facts, and the drawing of its values where they have an order."""

    facts: dict[str, Any]
    rank: int
    histogram: charts.Histogram | None
    bars: list[dict[str, Any]]
    more_bars: list[dict[str, Any]]
    caption: str


def render(document: Mapping[str, Any]) -> str:
    """One HTML page, complete in itself, from the plain document of a comparison.

    Args:
        document: what `Comparison.to_document` gives, or the JSON of `howfar compare --json` read back.

    Returns:
        The text of the page. It loads nothing and runs no script; names and labels of the data are shown as text.

    Raises:
        DataError: the document is not one of a comparison.

    Example:
        >>> import howfar.report
        >>> howfar.report.render({"format": "recipe"})
        Traceback (most recent call last):
        howfar._errors.DataError: document: expected the document of a comparison ..., got format 'recipe', ...
    """
    found = document.get("format"), document.get("format_version")
    if found != ("howfar.comparison", 1):
        raise DataError(
            complaint(
                "document",
                "the document of a comparison (format 'howfar.comparison', version 1)",
                f"format {found[0]!r}, version {found[1]!r}",
                "Pass what `howfar compare --json` printed.",
            )
        )
    plain = wording.clean(document)
    cards = [_card(column, rank) for rank, column in enumerate(plain["columns"], 1)]
    clouds = plain["projection"]
    return (
        _environment()
        .get_template("page.html")
        .render(
            doc=plain,
            cards=cards,
            shown=_SHOWN_COLUMNS,
            shown_rows=_SHOWN_ROWS,
            shown_names=_SHOWN_NAMES,
            n_moved=sum(card.facts["different"] or card.facts["missing"]["different"] for card in cards),
            missing=[card.facts for card in cards if card.facts["missing"]["different"]],
            any_missing=any(_has_gaps(card.facts["missing"]) for card in cards),
            cloud=charts.cloud(clouds["reference"], clouds["current"]) if _drawable(clouds) else None,
            command=wording.repeat(plain["reference"]["name"], plain["current"]["name"], plain["settings"]),
            chart=charts,
        )
    )


def _card(column: dict[str, Any], rank: int) -> Card:
    shares = column["histogram"]
    bars: list[dict[str, Any]] = []
    if shares is not None and shares["labels"] is not None:
        rows = zip(shares["labels"], shares["reference"], shares["current"], strict=True)
        bars = [{"label": label, "reference": left, "current": right} for label, left, right in rows]
    longest = max((max(bar["reference"], bar["current"]) for bar in bars), default=0.0) or 1.0
    for bar in bars:
        bar["widths"] = {side: f"{100 * bar[side] / longest:.1f}%" for side in ("reference", "current") if bar[side]}
    return Card(
        facts=column,
        rank=rank,
        histogram=charts.histogram(column),
        bars=bars[:_SHOWN_LEVELS],
        more_bars=bars[_SHOWN_LEVELS:],
        caption=f"Distribution of {wording.name(column['name'])} in reference and current. {wording.arrows(wording.brief(column['shift']))}",
    )


def _has_gaps(missing: Mapping[str, Any]) -> bool:
    return bool(missing["reference_count"] or missing["current_count"])


def _drawable(projection: Mapping[str, Any] | None) -> bool:
    return projection is not None and bool(projection["reference"] or projection["current"])


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("howfar.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "name": wording.name,
        "breakable": wording.breakable,
        "number": wording.number,
        "share": wording.share,
        "p_value": wording.p_value,
        "arrows": wording.arrows,
        "brief": wording.brief,
        "gaps": _has_gaps,
    }
    return environment
