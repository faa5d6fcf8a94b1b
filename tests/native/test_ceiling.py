"""The ceiling does the arithmetic that it claims to do."""

from __future__ import annotations

import ctypes

import pytest

from howfar import _native


@pytest.mark.parametrize("precision", ["f32", "f64"])
@pytest.mark.parametrize("features", [1, 7, 64])
@pytest.mark.parametrize("threads", [1, 3])
def test_every_pair_is_evaluated(precision: str, features: int, threads: int) -> None:
    rounds = 5
    sums = (ctypes.c_double * threads)()
    run = getattr(_native.library(), f"howfar_ceiling_{precision}")
    pairs = run(features, rounds, True, threads, sums)
    rows, columns = _native.tile(precision == "f32")
    assert pairs > 0
    assert pairs % (rounds * threads) == 0
    assert rows * columns >= 4
    # A pair is 2^t, t = -1 plus one product of 1/2 and -1/1000 for each feature.
    for total in sums:
        assert total == pytest.approx(pairs / threads * 2 ** (-1 - features / 2000), rel=1e-5)


def test_it_is_a_rate() -> None:
    assert _native.ceiling(3, seconds=1e-3) > _native.ceiling(1024, seconds=1e-3) > 0
