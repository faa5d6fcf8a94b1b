"""Adjusted p-values of many statistics on shared labellings: against a direct count, and what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from howfar.two_sample import adjust_min_p


def correlated(k: int, b: int, seed: int) -> torch.Tensor:
    """Quadratic statistics that depend on each other, exchangeable over labellings."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(1, b, generator=generator, dtype=torch.float64)
    return (shared + torch.randn(k, b, generator=generator, dtype=torch.float64)).square()


def score(row: np.ndarray, value: float) -> float:
    """-log10 of the share of the row that is as large; beyond the 90 % quantile along an exponential tail."""
    ordered, last = sorted(row), len(row) - 1
    q90, q99 = ordered[int(0.90 * last)], ordered[int(0.99 * last)]
    if value > q90 and q99 > q90:
        return 1 + (value - q90) / (q99 - q90)
    return -math.log10(np.mean(row >= value))


def direct(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Algorithm 2.8 of Westfall and Young on the scores, counted in loops."""
    k, b = statistics.shape
    scores = np.array([[score(row, value) for value in row] for row in statistics])
    order = sorted(range(k), key=lambda i: -scores[i, 0])
    adjusted, worst = np.zeros(k), 0.0
    for step, i in enumerate(order):
        rivals = scores[order[step:]].max(0)
        worst = max(worst, (rivals >= scores[i, 0]).sum() / b)
        adjusted[i] = worst
    return (statistics >= statistics[:, :1]).mean(1), adjusted


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("b", [40, 300])
def test_adjusted_p_values_are_counted_right(ties, b):
    rng = np.random.default_rng(0)
    statistics = rng.normal(size=(5, b))
    statistics[1, 0], statistics[3, 0] = 3.0, 2.0
    if ties:
        statistics = statistics.round()
        statistics[4] = statistics[1]
    raw, adjusted = direct(statistics)
    result = adjust_min_p(statistics)
    np.testing.assert_allclose(result.p_values, raw)
    np.testing.assert_allclose(result.adjusted, adjusted)
    assert result.combined == adjusted.min()


def test_one_statistic_keeps_its_permutation_p_value():
    assert adjust_min_p(torch.tensor([[2.0, 1.0, 3.0, 0.0]])).adjusted.tolist() == [0.5]
    statistics = correlated(1, 200, 0)
    result = adjust_min_p(statistics)
    share = float((statistics >= statistics[:, :1]).double().mean())
    assert result.combined == share == float(result.p_values) == float(result.adjusted)


@pytest.mark.parametrize("seed", range(5))
def test_adjusted_p_values_are_never_below_the_raw_ones(seed):
    result = adjust_min_p(correlated(8, 500, seed))
    assert bool((result.adjusted >= result.p_values).all())
    assert result.combined == float(result.adjusted.min()) <= 8 * float(result.p_values.min())


def test_dependence_is_used():
    rng = np.random.default_rng(1)
    row = np.concatenate([[3.0], rng.normal(size=999)])
    alone = adjust_min_p(row[None]).combined
    assert adjust_min_p(np.stack([row] * 20)).combined == alone
    apart = rng.normal(size=(20, 1000))
    apart[0] = row
    assert adjust_min_p(apart).combined > 5 * alone


def test_one_outlier_among_many_statistics_reaches_the_smallest_p_value():
    """By ranks alone it could not: the other 199 have a most extreme labelling each."""
    statistics = correlated(200, 1000, 0)
    statistics[17, 0] = 1e3
    result = adjust_min_p(statistics)
    assert float(result.adjusted[17]) == result.combined == 1 / 1000
    assert int((result.adjusted <= 0.05).sum()) == 1


def test_family_wise_error():
    rng = np.random.default_rng(2)
    wrong = sum(adjust_min_p(rng.normal(size=(6, 1000))).combined <= 0.05 for _ in range(400))
    # Binomial(400, 0.05) leaves 6 .. 38 once in 10 000.
    assert 6 <= wrong <= 38


def test_every_labelling_has_the_same_chance_to_look_like_the_observed_one():
    """The p-value of each column taken as the observed one: their distribution is uniform, which is exactness."""
    statistics = correlated(6, 400, 3)
    p_values = []
    for column in range(400):
        order = torch.cat([torch.tensor([column]), torch.arange(column), torch.arange(column + 1, 400)])
        p_values.append(adjust_min_p(statistics[:, order]).combined)
    for alpha in (0.01, 0.05, 0.2):
        assert sum(p <= alpha for p in p_values) == round(alpha * 400)


def test_ties_count_against_a_finding():
    assert adjust_min_p(torch.ones(3, 100)).combined == 1.0
    nearly = torch.ones(1, 100, dtype=torch.float64)
    nearly[0, 0] += 1e-10
    assert adjust_min_p(nearly).combined == 1.0
    assert adjust_min_p(torch.tensor([[0.1 + 0.2, 0.3, 0.0, 0.0]], dtype=torch.float64)).p_values.item() == 0.5


def test_a_statistic_with_two_values_is_ranked_without_a_tail():
    statistics = torch.zeros(2, 1000)
    statistics[0, :20] = 1
    statistics[1] = torch.arange(1000).flip(0)
    result = adjust_min_p(statistics)
    assert float(result.p_values[0]) == 0.02
    assert float(result.adjusted[1]) == float(result.p_values[1]) == 0.001


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ([1.0, 2.0], "statistics: expected shape (K, 1 + B), got (2,). Pass one row per hypothesis."),
        ([[1.0, math.nan]], "statistics: expected finite numbers, got nan at statistics[0][1]. "),
    ],
)
def test_bad_calls(statistics, message):
    with pytest.raises(ValueError) as caught:
        adjust_min_p(statistics)
    assert str(caught.value).startswith(message)
