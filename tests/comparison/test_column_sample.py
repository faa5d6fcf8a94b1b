from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from howfar.comparison import relabeling
from howfar.comparison.columns import N_THRESHOLDS, ColumnSample
from howfar.comparison.relabeling import CountStatistics, Strata
from howfar.data import load, pair


def _sample(reference, current) -> ColumnSample:
    import polars as pl

    tables = load(pl.DataFrame({"x": reference})), load(pl.DataFrame({"x": current}))
    return ColumnSample.of(pair(*tables).columns[0])


@pytest.fixture
def draws():
    rng = np.random.default_rng(0)
    return rng.normal(size=70).round(1), (rng.normal(size=50) * 1.5 + 0.3).round(1)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e9])
def test_ordered_effects_agree_with_scipy_and_numpy(draws, offset):
    a, b = (side + offset for side in draws)
    sample = _sample(a, b)
    assert sample.effect() == pytest.approx(stats.ks_2samp(a, b).statistic, rel=1e-12)
    assert sample.wasserstein() == pytest.approx(stats.wasserstein_distance(a, b), rel=1e-6)
    for side, values in enumerate((a, b)):
        assert sample.quantiles(side, (0.0, 0.1, 0.25, 0.5, 1.0)) == pytest.approx(
            np.quantile(values, [0, 0.1, 0.25, 0.5, 1]), rel=1e-12
        )
        assert sample.moments(side) == pytest.approx((values.mean(), values.std(ddof=1)), rel=1e-7)


def test_total_variation_of_levels():
    sample = _sample(["a"] * 6 + ["b"] * 4, ["a"] * 1 + ["b"] * 4 + ["c"] * 5)
    assert sample.effect() == pytest.approx(0.5)


def test_missing_rows_are_kept_apart():
    sample = _sample([1.0, None, 3.0, None], [1.0, 2.0, None])
    assert sample.n_missing == (2, 1)
    assert sample.counts.tolist() == [[1, 0, 1], [1, 1, 0]]
    assert sample.codes.tolist() == [0, 3, 2, 3, 0, 1, 3]


def test_a_side_without_values_has_no_effect():
    sample = _sample([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    empty = ColumnSample(sample.column, sample.support, sample.codes, torch.tensor([[1.0, 1, 1], [0, 0, 0]]))
    assert not empty.comparable
    assert empty.effect() is None


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_statistic_of_ordered_values_is_anderson_and_darlings(draws):
    """SciPy standardises the same number with a mean and a deviation that depend on the sizes alone."""
    a, b = draws
    pooled = np.concatenate([a, b])
    statistic = CountStatistics.of(_sample(a, b))
    rng = np.random.default_rng(1)
    labels = np.stack([rng.permutation(len(pooled)) < len(a) for _ in range(6)], 1)
    ours = statistic(torch.from_numpy(labels).float())[0].numpy()
    theirs = np.array([stats.anderson_ksamp([pooled[k], pooled[~k]], midrank=False).statistic for k in labels.T])
    slope = (ours[1] - ours[0]) / (theirs[1] - theirs[0])
    assert ours == pytest.approx(1 + slope * theirs, rel=1e-9)


def test_statistic_of_levels_is_pearsons():
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 4, 90)
    statistic = CountStatistics.of(_sample([f"l{c}" for c in codes[:50]], [f"l{c}" for c in codes[50:]]))
    labels = np.stack([rng.permutation(90) < 50 for _ in range(5)], 1)
    ours = statistic(torch.from_numpy(labels).float())[0]
    for value, k in zip(ours, labels.T, strict=True):
        rows = [np.bincount(codes[side], minlength=4) for side in (k, ~k)]
        assert float(value) == pytest.approx(stats.chi2_contingency(rows, correction=False).statistic, rel=1e-12)


def test_statistic_of_missing_rows_and_of_a_labeling_that_empties_a_side():
    statistic = CountStatistics.of(_sample([1.0, None, None, 4.0], [2.0, 3.0]))
    labels = torch.tensor([[1.0, 0], [1, 1], [1, 1], [1, 0], [0, 0], [0, 0]])
    values, missing = statistic(labels)
    assert missing.tolist() == pytest.approx([2 - 4 * 2 / 6, 2 - 2 * 2 / 6])
    assert values[1] == 0
    assert bool(torch.isfinite(values).all())


def test_many_values_are_tested_at_equally_spaced_ranks():
    sample = _sample(np.linspace(0, 1, 4000), np.linspace(0, 2, 3000))
    codes, n_values = sample.tested_codes()
    totals = torch.bincount(codes, minlength=n_values)
    assert n_values == N_THRESHOLDS
    assert int(totals.min()) >= 5
    assert int(totals.max()) <= 8
    values = torch.cat([sample.column.reference.values, sample.column.current.values])
    assert bool((codes[values.argsort()].diff() >= 0).all())


def _all(strata, n_permutations, generator):
    return torch.cat(list(strata.blocks(strata.relabelings(n_permutations, generator), generator)), 1)


@pytest.mark.parametrize(("n", "m"), [(101, 101), (102, 103), (101, 300), (300, 100)])
def test_a_rest_that_has_few_labelings_is_drawn_like_any_other(n, m, monkeypatch):
    """Also over several blocks: the observed labels once and first, every other labeling as likely as the next."""
    monkeypatch.setattr(relabeling, "BLOCK_ELEMENTS", 50 * (n + m))
    generator = torch.Generator().manual_seed(0)
    strata = Strata.draw(n, m, 100, generator)
    relabelings = strata.relabelings(999, generator)
    blocks = list(strata.blocks(relabelings, generator))
    assert [block.shape for block in blocks] == [(n + m, 50)] * 20
    labels = torch.cat(blocks, 1)
    assert labels[:, 0].tolist() == [True] * n + [False] * m
    assert labels.sum(0).unique().tolist() == [n]
    inside, outside = strata.parts()
    assert torch.equal(labels[inside], relabelings)
    chance = (n - 100) / len(outside)
    for share in labels[outside].double().mean(1):
        assert float(share) == pytest.approx(chance, abs=5 * (chance * (1 - chance) / 1000) ** 0.5 + 1e-12)


def test_relabelings_keep_the_sizes_of_the_subsample_and_of_the_rest():
    generator = torch.Generator().manual_seed(0)
    strata = Strata.draw(500, 260, 200, generator)
    labels = _all(strata, 99, generator)
    inside, outside = strata.parts()
    assert labels.shape == (760, 100)
    assert labels[:, 0].tolist() == [True] * 500 + [False] * 260
    assert labels[inside].sum(0).unique().tolist() == [200]
    assert labels[outside].sum(0).unique().tolist() == [300]
    one_sided = Strata.draw(150, 260, 200, generator)
    assert _all(one_sided, 9, generator).sum(0).unique().tolist() == [150]
    assert not one_sided.whole
    assert Strata.draw(150, 200, 200, generator).whole
