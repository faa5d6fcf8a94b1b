"""From shares and points to the coordinates of a drawing: what the SVG of the templates is filled with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from howfar.report import wording

WIDTH, HEIGHT = 1000, 300
SIDE = 1000
_MARGIN = 0.04
_LAYERS = 8
_FAR = 4.0


@dataclass(frozen=True)
class Bin:
    """One bar of a histogram, for the pointer: where it is and what it says."""

    x: int
    width: int
    text: str


@dataclass(frozen=True)
class Histogram:
    """Two histograms over the same bins, as paths in a box of WIDTH x HEIGHT.

    `top` is the share of rows that the upper edge stands for, empty where bins of unequal width have no such number.
    """

    reference: str
    current: str
    bins: tuple[Bin, ...]
    ends: tuple[str, str]
    top: str
    medians: tuple[int | None, int | None]


@dataclass(frozen=True)
class Cloud:
    """Two clouds in a box of SIDE x SIDE, as layers of dots, reference and current in turn.

    The layers alternate, so that neither cloud hides the other; `outside` counts the points beyond the frame.
    """

    layers: tuple[tuple[str, str], ...]
    outside: int


def histogram(column: dict[str, Any]) -> Histogram | None:
    """The drawing of a numeric or date column, or None where there is nothing to draw."""
    shares = column["histogram"]
    if shares is None or shares["edges"] is None:
        return None
    edges = [_position(edge) for edge in shares["edges"]]
    low, span = edges[0], (edges[-1] - edges[0]) or 1.0
    places = [round(WIDTH * (edge - low) / span) for edge in edges]
    widths = [right - left for left, right in pairwise(edges)]
    even = max(widths) <= 1.01 * min(widths)
    heights = [
        [value if even else value / width for value, width in zip(shares[side], widths, strict=True)]
        for side in ("reference", "current")
    ]
    top = max(max(side) for side in heights) or 1.0
    names = [wording.number(edge) if isinstance(edge, (int, float)) else _day(edge) for edge in shares["edges"]]
    bins = tuple(
        Bin(
            places[i],
            places[i + 1] - places[i],
            f"{names[i]} to {names[i + 1]}: reference {wording.share(shares['reference'][i])}, "
            f"current {wording.share(shares['current'][i])}",
        )
        for i in range(len(widths))
    )
    medians = [_place(column[side].get("median"), low, span) for side in ("reference", "current")]
    return Histogram(
        reference=_steps(places, heights[0], top) + "Z",
        current=_steps(places, heights[1], top),
        bins=bins,
        ends=(names[0], names[-1]),
        top=wording.share(top) if even else "",
        medians=(medians[0], medians[1]),
    )


def cloud(reference: Sequence[Sequence[float]], current: Sequence[Sequence[float]]) -> Cloud:
    """Both clouds on one scale. Axes stretch apart: a projection's second axis is often far shorter."""
    points = [*reference, *current]
    frames = [_frame([point[axis] for point in points]) for axis in range(2)]

    # A dot is a stroke with thick ends. It needs some length: on paper, a stroke of none has no direction for a square end.
    def dots(chunk: Sequence[Sequence[float]]) -> str:
        placed = (
            [round(SIDE * (value - low) / span) for value, (low, span) in zip(point, frames, strict=True)]
            for point in chunk
        )
        return "".join(f"M{x} {SIDE - y}h.1" for x, y in placed if 0 <= x <= SIDE and 0 <= y <= SIDE)

    layers = tuple((dots(reference[i::_LAYERS]), dots(current[i::_LAYERS])) for i in range(_LAYERS))
    drawn = sum(path.count("M") for pair in layers for path in pair)
    return Cloud(layers, len(points) - drawn)


def _frame(values: list[float]) -> tuple[float, float]:
    """Lower end and span of an axis that shows all points, save where a few would squeeze the rest to a dot."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    inner_low, inner_high = ordered[len(ordered) // 100], ordered[-1 - len(ordered) // 100]
    inner = inner_high - inner_low
    if inner > 0:
        low, high = max(low, inner_low - _FAR * inner), min(high, inner_high + _FAR * inner)
    if high == low:
        return low - 0.5, 1.0
    span = high - low
    return low - _MARGIN * span, (1 + 2 * _MARGIN) * span


def _steps(places: list[int], heights: list[float], top: float) -> str:
    tops = (f"V{HEIGHT - round((HEIGHT - 4) * h / top)}H{x}" for h, x in zip(heights, places[1:], strict=True))
    return f"M{places[0]} {HEIGHT}{''.join(tops)}V{HEIGHT}"


def _place(value: object, low: float, span: float) -> int | None:
    if value is None:
        return None
    return min(WIDTH, max(0, round(WIDTH * (_position(value) - low) / span)))


def _position(edge: Any) -> float:
    if isinstance(edge, str):
        moment = datetime.fromisoformat(edge)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return float(edge)


def _day(edge: str) -> str:
    """A date without a time of day that is midnight."""
    return edge.removesuffix("+00:00").removesuffix("Z").removesuffix("T00:00:00").replace("T", " ")
