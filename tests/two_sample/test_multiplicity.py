"""Adjusted p-values against a direct count and the known rule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from howfar.two_sample import adjust_min_p, holm


def direct_min_p(statistics):
    """Algorithm 2.8 of Westfall and Young, counted in loops."""
    k, b = statistics.shape
    p = np.array([[(row >= value).mean() for value in row] for row in statistics])
    order = sorted(range(k), key=lambda i: p[i, 0])
    adjusted, worst = np.zeros(k), 0.0
    for step, i in enumerate(order):
        rest = p[order[step:]].min(0)
        worst = max(worst, (rest <= p[i, 0]).sum() / b)
        adjusted[i] = worst
    return p[:, 0], adjusted


@pytest.mark.parametrize("ties", [False, True])
def test_min_p_is_counted_right(ties):
    rng = np.random.default_rng(0)
    statistics = rng.normal(size=(5, 40))
    statistics[1, 0], statistics[3, 0] = 3.0, 2.0
    if ties:
        statistics = statistics.round()
        statistics[4] = statistics[1]
    raw, adjusted = direct_min_p(statistics)
    result = adjust_min_p(statistics)
    np.testing.assert_allclose(result.p_values, raw)
    np.testing.assert_allclose(result.adjusted, adjusted)
    assert result.combined == adjusted.min()


def test_one_hypothesis_needs_no_adjustment():
    result = adjust_min_p(torch.tensor([[2.0, 1.0, 3.0, 0.0]]))
    assert result.adjusted.tolist() == result.p_values.tolist() == [0.5]


def test_dependence_is_used():
    rng = np.random.default_rng(1)
    row = np.concatenate([[5.0], rng.normal(size=999)])
    assert adjust_min_p(np.stack([row] * 20)).combined == pytest.approx(0.001)
    apart = rng.normal(size=(20, 1000))
    apart[0, 0] = 5.0
    assert 0.015 < adjust_min_p(apart).combined <= 0.020


def test_family_wise_error():
    rng = np.random.default_rng(2)
    wrong = sum(adjust_min_p(rng.normal(size=(6, 1000))).combined <= 0.05 for _ in range(400))
    # Binomial(400, 0.05) leaves 6 .. 38 once in 10 000.
    assert 6 <= wrong <= 38


def test_equal_up_to_rounding_is_equal():
    value = 0.1 + 0.2
    assert adjust_min_p(torch.tensor([[value, 0.3, 0.0, 0.0]], dtype=torch.float64)).p_values.item() == 0.5


def test_holm():
    p = [0.01, 0.04, 0.03, 0.005, 0.9]
    np.testing.assert_allclose(holm(p), [0.04, 0.09, 0.09, 0.025, 0.9])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]


BAD = [
    (lambda: holm([[0.1]]), "p_values: expected shape (K,), got (1, 1). Pass one p-value per test."),
    (lambda: holm([0.1, 1.5]), "p_values: expected numbers in [0, 1], got 1.5. Pass probabilities."),
    (lambda: adjust_min_p([1.0, 2.0]), "statistics: expected shape (K, 1 + B), got (2,). Pass one row per hypothesis."),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=["shape", "range", "rows"])
def test_bad_calls(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message
