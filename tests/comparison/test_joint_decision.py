from __future__ import annotations

import pytest
import torch

from howfar.comparison.joint import joint_test
from howfar.two_sample import adjust_min_p


def _null(k: int, n_relabelings: int, seed: int) -> torch.Tensor:
    """Correlated quadratic statistics, exchangeable over relabelings."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(1, n_relabelings, generator=generator, dtype=torch.float64)
    return (shared + torch.randn(k, n_relabelings, generator=generator, dtype=torch.float64)).square()


def test_one_statistic_keeps_its_permutation_p_value():
    statistics = _null(1, 200, 0)
    result = joint_test(statistics)
    share = float((statistics >= statistics[:, :1]).double().mean())
    assert result.p_combined == share == float(result.p_values) == float(result.p_adjusted)


@pytest.mark.parametrize("seed", range(5))
def test_adjusted_p_values_follow_the_order_of_the_scores_and_are_never_below_the_raw_ones(seed):
    statistics = _null(8, 500, seed)
    result = joint_test(statistics)
    assert bool((result.p_adjusted >= result.p_values).all())
    assert result.p_combined == float(result.p_adjusted.min())
    # Bonferroni's bound, and agreement with min-p on ranks, of which it is a refinement.
    ranks = adjust_min_p(statistics)
    assert float((result.p_adjusted - ranks.adjusted).abs().max()) < 0.03
    assert bool((result.p_values - ranks.p_values).abs().max() < 1e-12)


def test_one_outlier_among_many_statistics_reaches_the_smallest_p_value():
    statistics = _null(200, 1000, 0)
    statistics[17, 0] = 1e3
    result = joint_test(statistics)
    assert float(result.p_adjusted[17]) == result.p_combined == 1 / 1000
    assert int((result.p_adjusted <= 0.05).sum()) == 1
    # What ranks alone can do, and the reason for the tail.
    assert float(adjust_min_p(statistics).adjusted[17]) > 0.05


def test_ties_count_against_a_finding():
    assert joint_test(torch.ones(3, 100)).p_combined == 1.0
    nearly = torch.ones(1, 100, dtype=torch.float64)
    nearly[0, 0] += 1e-13
    assert joint_test(nearly).p_combined == 1.0


def test_a_statistic_with_two_values_is_ranked_without_a_tail():
    statistics = torch.zeros(2, 1000)
    statistics[0, :20] = 1
    statistics[1] = torch.arange(1000).flip(0)
    result = joint_test(statistics)
    assert float(result.p_values[0]) == 0.02
    assert float(result.p_adjusted[1]) == float(result.p_values[1]) == 0.001


def test_every_relabeling_has_the_same_chance_to_look_like_the_observed_one():
    """The p-value of each column taken as the observed one: their distribution is uniform, which is exactness."""
    statistics = _null(6, 400, 3)
    p_values = []
    for column in range(400):
        order = torch.cat([torch.tensor([column]), torch.arange(column), torch.arange(column + 1, 400)])
        p_values.append(joint_test(statistics[:, order]).p_combined)
    for alpha in (0.01, 0.05, 0.2):
        assert sum(p <= alpha for p in p_values) == round(alpha * 400)
