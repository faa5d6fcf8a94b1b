"""Documents of comparisons, made by hand: the report is tested without the comparison that lies above it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

Document = dict[str, Any]

EVIL = [
    "<script>document.title='owned'</script>",
    "</script><script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</style><style>body{display:none}</style>",
    "</title></svg><svg onload=\"document.title='owned'\">",
    "' onmouseover='document.title=1' x='",
    "{{ 7 * 7 }}{% raw %}",
    "<b>bold</b><a href='javascript:alert(1)'>link</a>",
    "<!-- swallowed",
    "line\u2028separator\u2029paragraph",
    "right\u202eto left",
    "nul\x00bell\x07",
    "lone surrogate \ud800",
    "   ",
    "name " * 500,
]

WINE = [
    ("alcohol", 13.7, 0.46, 12.3, 0.54),
    ("malic_acid", 2.0, 0.69, 1.9, 1.0),
    ("ash", 2.46, 0.23, 2.24, 0.32),
    ("alcalinity_of_ash", 17.0, 2.5, 20.2, 3.3),
    ("magnesium", 106.3, 10.5, 94.5, 16.8),
    ("total_phenols", 2.84, 0.34, 2.26, 0.55),
    ("flavanoids", 2.98, 0.4, 2.08, 0.71),
    ("nonflavanoid_phenols", 0.29, 0.07, 0.36, 0.12),
    ("proanthocyanins", 1.9, 0.41, 1.63, 0.6),
    ("color_intensity", 5.5, 1.24, 3.1, 0.92),
    ("hue", 1.06, 0.12, 1.06, 0.2),
    ("od280/od315_of_diluted_wines", 3.16, 0.36, 2.79, 0.5),
    ("proline", 1115.7, 221.5, 519.5, 157.2),
]


def _binned(values: list[float], edges: list[float]) -> list[float]:
    counts = [0] * (len(edges) - 1)
    for value in values:
        place = sum(edge <= value for edge in edges[1:-1])
        counts[place] += 1
    return [count / len(values) for count in counts]


def _no_gaps(n: int, m: int) -> Document:
    return _gaps(n, m, 0, 0, None)


def _gaps(n: int, m: int, left: int, right: int, p: float | None) -> Document:
    return {
        "reference": left / n,
        "current": right / m,
        "reference_count": left,
        "current_count": right,
        "p_value": p,
        "p_adjusted": p,
        "different": p is not None and p <= 0.05,
    }


def numeric(name: str, reference: list[float], current: list[float], p: float, bins: int = 24) -> Document:
    low, high = min(reference + current), max(reference + current)
    edges = [low + (high - low) * i / bins for i in range(bins + 1)]
    cuts = sorted(reference + current)
    effect = max(
        abs(sum(v <= t for v in reference) / len(reference) - sum(v <= t for v in current) / len(current)) for t in cuts
    )
    return {
        "name": name,
        "kind": "numeric",
        "unit": "",
        "effect": effect,
        "p_value": p,
        "p_adjusted": min(1.0, 2 * p),
        "different": 2 * p <= 0.05,
        "shift": f"median {_median(reference):.4g} -> {_median(current):.4g}",
        "missing": _no_gaps(len(reference), len(current)),
        "reference": _summary(reference),
        "current": _summary(current),
        "measures": [
            {
                "label": "Wasserstein distance",
                "value": abs(_median(reference) - _median(current)),
                "unit": "units of the column",
            }
        ],
        "levels": [],
        "new_levels": [],
        "vanished_levels": [],
        "histogram": {
            "edges": edges,
            "labels": None,
            "reference": _binned(reference, edges),
            "current": _binned(current, edges),
        },
    }


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def _summary(values: list[float]) -> Document:
    ordered = sorted(values)
    mean = sum(values) / len(values)
    return {
        "count": len(values),
        "mean": mean,
        "sd": (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5,
        "min": ordered[0],
        "q25": ordered[len(values) // 4],
        "median": _median(values),
        "q75": ordered[3 * len(values) // 4],
        "max": ordered[-1],
    }


def categorical(name: str, labels: list[str], reference: list[float], current: list[float], p: float) -> Document:
    moved = sorted(zip(labels, reference, current, strict=True), key=lambda row: -abs(row[1] - row[2]))
    return {
        "name": name,
        "kind": "categorical",
        "unit": "",
        "effect": sum(abs(a - b) for a, b in zip(reference, current, strict=True)) / 2,
        "p_value": p,
        "p_adjusted": p,
        "different": p <= 0.05,
        "shift": f"{moved[0][0]} {100 * moved[0][1]:.0f} % -> {100 * moved[0][2]:.0f} %",
        "missing": _no_gaps(59, 71),
        "reference": {"count": 59, "levels": sum(v > 0 for v in reference), "most_common": labels[0]},
        "current": {"count": 71, "levels": sum(v > 0 for v in current), "most_common": labels[-1]},
        "measures": [],
        "levels": [{"label": a, "reference": b, "current": c} for a, b, c in moved],
        "new_levels": [a for a, b, _ in moved if b == 0],
        "vanished_levels": [a for a, _, c in moved if c == 0],
        "histogram": {"edges": None, "labels": labels, "reference": reference, "current": current},
    }


def date(name: str) -> Document:
    months = [f"2024-{month:02d}-01" for month in range(1, 13)]
    left = [0.14 - 0.01 * i for i in range(10)]
    left.append(1 - sum(left))
    right = [0.01 * i for i in range(1, 11)]
    right.append(1 - sum(right))
    summary = {
        "count": 59,
        "mean": months[4],
        "sd": 100.2,
        "min": months[0],
        "q25": months[2],
        "median": months[5],
        "q75": months[8],
        "max": months[11],
    }
    return {
        "name": name,
        "kind": "datetime",
        "unit": "days since 1970-01-01",
        "effect": 0.31,
        "p_value": 0.003,
        "p_adjusted": 0.02,
        "different": True,
        "shift": "median 2024-06-01 -> 2024-09-01 (+92 days)",
        "missing": _gaps(59, 71, 0, 9, 0.009),
        "reference": summary,
        "current": summary | {"median": months[8], "q25": None},
        "measures": [{"label": "Wasserstein distance", "value": 78.25, "unit": "days"}],
        "levels": [],
        "new_levels": [],
        "vanished_levels": [],
        "histogram": {"edges": months, "labels": None, "reference": left, "current": right},
    }


def compose(columns: list[Document], different: bool, **changes: Any) -> Document:
    draw = random.Random(0)
    columns = sorted(columns, key=lambda column: -(column["effect"] or 0))
    shift = 2.5 if different else 0.0
    document: Document = {
        "format": "howfar.comparison",
        "format_version": 1,
        "howfar": "0.1.0",
        "verdict": {
            "different": different,
            "significant": different,
            "sentence": "The two tables differ: 9 of 16 columns moved, proline most (its median fell from 1115 to 520)."
            if different
            else "No difference found: every gap between the two tables is within what chance explains.",
            "p_value": 0.001 if different else 0.62,
            "alpha": 0.05,
            "effect": columns[0]["effect"] or 0.0 if columns else 0.0,
            "largest": columns[0]["name"] if columns else None,
        },
        "reference": {"name": "demo/wine_0.csv", "rows": 59},
        "current": {"name": "demo/wine_1.parquet", "rows": 71},
        "distances": [
            {
                "name": "energy_distance",
                "label": "Energy distance",
                "value": 3.412 if different else 0.0213,
                "unit": "robust standard units",
                "p_value": 0.001 if different else 0.62,
                "note": "How much farther apart two rows are across the tables than within them.",
            },
            {
                "name": "sliced_wasserstein",
                "label": "Sliced Wasserstein distance",
                "value": 1.226 if different else 0.11,
                "unit": "robust standard units",
                "p_value": None,
                "note": "How far a row has to move, averaged over directions, to turn one table into the other.",
            },
        ],
        "columns": columns,
        "only_in_reference": [],
        "only_in_current": [],
        "conflicts": [],
        "ignored": [],
        "projection": {
            "method": "principal components",
            "axes": ["component 1 (36 % of the variance)", "component 2 (19 %)"],
            "reference": [[draw.gauss(0, 1), draw.gauss(0, 0.6)] for _ in range(400)],
            "current": [[draw.gauss(shift, 1.2), draw.gauss(0.2 * shift, 0.6)] for _ in range(400)],
        },
        "locations": {
            "note": "Score: how much closer a row is to its own table than to the other.",
            "columns": [column["name"] for column in columns[:6]],
            "reference": [
                {"row": 7 * i, "score": 2.5 - 0.1 * i, "values": [f"{13 + i / 7:.2f}"] * len(columns[:6])}
                for i in range(12)
            ],
            "current": [
                {"row": 5 * i, "score": 2.1 - 0.1 * i, "values": [f"{12 - i / 7:.2f}"] * len(columns[:6])}
                for i in range(6)
            ],
        }
        if different
        else None,
        "subsample": None,
        "settings": {
            "alpha": 0.05,
            "n_permutations": 999,
            "seed": 0,
            "tolerance": None,
            "max_rows": 4000,
            "columns": None,
        },
        "warnings": [],
    }
    return document | changes


def wine_columns(different: bool) -> list[Document]:
    draw = random.Random(1)
    columns = []
    for name, mean, sd, other_mean, other_sd in WINE:
        if not different:
            other_mean, other_sd = mean, sd
        gap = abs(mean - other_mean) / sd
        reference, current = (
            [draw.gauss(mean, sd) for _ in range(59)],
            [draw.gauss(other_mean, other_sd) for _ in range(71)],
        )
        columns.append(numeric(name, reference, current, 0.001 if gap > 0.6 else 0.4 + gap / 3))
    return columns


@pytest.fixture
def alike() -> Document:
    return compose(wine_columns(different=False), different=False)


@pytest.fixture
def wine() -> Document:
    return compose(
        [
            *wine_columns(different=True),
            categorical(
                "region", ["Barolo", "Asti", "Alba", "Langhe"], [0.5, 0.3, 0.2, 0.0], [0.1, 0.0, 0.2, 0.7], 0.001
            ),
            categorical("organic", ["false", "true"], [0.61, 0.39], [0.58, 0.42], 0.7) | {"kind": "boolean"},
            date("bottled"),
        ],
        different=True,
        only_in_reference=["cellar"],
        only_in_current=["shelf", "price"],
        conflicts=[
            {"column": "vintage", "reference": "datetime", "current": "numeric", "reason": "dates are no numbers"}
        ],
        ignored=[{"column": "id", "reason": "every value is unique text", "side": "current"}],
        subsample={"rows_reference": 59, "rows_current": 71, "reason": "All rows fit."},
        warnings=["bottled: 9 of 71 dates could not be read and count as missing."],
    )


@pytest.fixture
def wide() -> Document:
    draw = random.Random(2)
    columns = [
        numeric(
            f"x{i:03d}",
            [draw.gauss(0, 1) for _ in range(40)],
            [draw.gauss(i / 150, 1) for _ in range(40)],
            0.001 if i > 250 else 0.5,
        )
        for i in range(500)
    ]
    return compose(columns, different=True)


@pytest.fixture
def evil() -> Document:
    """Hostile text in every place that takes text from the data or from the caller."""
    columns = [numeric(text, [0.0, 1.0, 2.0], [1.0, 2.0, 3.0], 0.001) | {"shift": text} for text in EVIL]
    columns.append(
        categorical("levels", EVIL, [1 / len(EVIL)] * len(EVIL), [0.0, *[1 / (len(EVIL) - 1)] * (len(EVIL) - 1)], 0.01)
    )
    columns[0]["missing"] = _gaps(3, 3, 1, 3, 0.01)
    for text, column in zip(EVIL, columns, strict=False):
        column["reference"] = column["reference"] | {"most_common": text, text: text}
        column["measures"] = [{"label": text, "value": 1.0, "unit": text}]
    document = compose(
        columns,
        different=True,
        only_in_reference=EVIL,
        only_in_current=EVIL,
        conflicts=[{"column": text, "reference": text, "current": text, "reason": text} for text in EVIL],
        ignored=[{"column": text, "reason": text, "side": text} for text in EVIL],
        warnings=EVIL,
        subsample={"rows_reference": 3, "rows_current": 3, "reason": EVIL[0]},
        reference={"name": EVIL[2], "rows": 3},
        current={"name": EVIL[4], "rows": 3},
        howfar=EVIL[2],
    )
    document["verdict"] |= {"sentence": "".join(EVIL[:9]), "largest": EVIL[0]}
    document["distances"][0] |= {"label": EVIL[0], "unit": EVIL[2], "note": EVIL[1]}
    document["projection"] |= {"method": EVIL[0], "axes": [EVIL[2], EVIL[4]]}
    document["settings"] |= {"columns": EVIL}
    document["locations"]["note"] = EVIL[0]
    document["locations"]["reference"][0]["values"] = EVIL[:6]
    return document


@pytest.fixture
def samples(wine: Document, alike: Document, wide: Document, evil: Document) -> dict[str, Document]:
    bare = compose([], different=False, projection=None, distances=[])
    return {"wine": wine, "alike": alike, "wide": wide, "evil": evil, "bare": bare}


Render = Callable[[Document], str]
