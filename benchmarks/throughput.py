"""Pairs a second of the three ops over sizes and dimensions, beside their peers and the measured ceiling.

Sizes rise within a dimension, and a peer that a size would keep for too long, by its pace on the last one, is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import kernel_sum, nearest, softmin
from benchmarks.harness import Job

_SIZES = 1000, 10_000, 100_000
_FEATURES = 1, 2, 3, 8, 16, 64, 256, 1024
_PATIENCE_S = 6.0
_LONG_PATIENCE_S = 60.0


def jobs(*, tiny: bool, long: bool) -> Iterator[Job]:
    """Every op, dimension and size."""
    patience = _LONG_PATIENCE_S if long else _PATIENCE_S
    for op in (softmin.job, kernel_sum.job, lambda n, d, pace, most: nearest.job(n, d, 16, pace, most)):
        for d in (3,) if tiny else _FEATURES:
            pace: dict[str, float] = {}
            for n in (50, 100) if tiny else _SIZES:
                yield op(n, d, pace, patience)
