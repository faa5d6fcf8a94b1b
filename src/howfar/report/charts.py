"""From shares and points to the coordinates of a drawing: what the SVG of the templates is filled with."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
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

    Every bar is as wide as the next, so far tails that share one bin do not squeeze the rest; `even` is whether the
    bins are, too, and the axis so a true scale. `top` is the share of rows that the upper edge stands for.
    """

    reference: str
    current: str
    bins: tuple[Bin, ...]
    ends: tuple[str, str]
    top: str
    medians: tuple[int | None, int | None]
    even: bool


@dataclass(frozen=True)
class Cloud:
    """Two clouds in a box of SIDE x SIDE, as layers of dots, reference and current in turn.

    The layers alternate, so that neither cloud hides the other; `outside` counts the points beyond the frame.
    """

    layers: tuple[tuple[str, str], ...]
    outside: int


def histogram(column: dict[str, Any]) -> Histogram | None:
    """The drawing of a numeric or datetime column, or None where there is nothing to draw."""
    shares = column["histogram"]
    if shares is None or shares["edges"] is None:
        return None
    sides = shares["reference"], shares["current"]
    edges = [_position(edge) for edge in shares["edges"]]
    names = [wording.number(edge) for edge in shares["edges"]]
    labels = [f"{low} to {high}" for low, high in pairwise(names)]
    if _whole(edges):
        labels = [wording.number(round(edge + 0.5)) for edge in shares["edges"][:-1]]
        names = [labels[0], labels[-1]]
    places = [round(WIDTH * i / (len(edges) - 1)) for i in range(len(edges))]
    top = max(map(max, sides)) or 1.0
    bins = tuple(
        Bin(left, right - left, f"{label}: reference {wording.share(a)}, current {wording.share(b)}")
        for (left, right), label, a, b in zip(pairwise(places), labels, *sides, strict=True)
    )
    return Histogram(
        reference=_steps(places, sides[0], top) + "Z",
        current=_steps(places, sides[1], top),
        bins=bins,
        ends=(names[0], names[-1]),
        top=wording.share(top),
        medians=(
            _place(column["reference"].get("median"), edges),
            _place(column["current"].get("median"), edges),
        ),
        even=_even(edges),
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


def _place(value: float | str | None, edges: list[float | None]) -> int | None:
    """Where a value stands among equally wide bars; None where it or an edge is no number or moment."""
    position = None if value is None else _position(value)
    known = [edge for edge in edges if edge is not None]
    if position is None or len(known) < len(edges):
        return None
    i = min(max(bisect_right(known, position) - 1, 0), len(known) - 2)
    within = (position - known[i]) / (known[i + 1] - known[i]) if known[i + 1] > known[i] else 0.5
    return round(WIDTH * (i + min(1.0, max(0.0, within))) / (len(known) - 1))


def _whole(edges: list[float | None]) -> bool:
    """Whether each bin holds one whole number, half a unit from either edge."""
    return all(edge is not None and edge % 1 == 0.5 for edge in edges) and all(
        left is not None and right is not None and right - left == 1 for left, right in pairwise(edges)
    )


def _even(edges: list[float | None]) -> bool:
    """Whether all bins have one width, to the rounding of dates to days."""
    known = [edge for edge in edges if edge is not None]
    widths = [right - left for left, right in pairwise(known)]
    return len(known) == len(edges) and max(widths) <= 1.5 * min(widths)


def _position(edge: float | str) -> float | None:
    """A number for a number, a date and time, a time of day, or a number with its unit; None for another text."""
    if not isinstance(edge, str):
        return float(edge)
    with suppress(ValueError):
        moment = datetime.fromisoformat(edge)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    with suppress(ValueError):
        return sum(float(part) * 60.0**-k for k, part in enumerate(edge.split(" ")[0].split(":")))
    return None
