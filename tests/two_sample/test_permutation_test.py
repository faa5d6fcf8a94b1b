"""The permutation test: exact, never zero, ties counted, seeded."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from howfar.kernel_distances import energy_distance, mmd2
from howfar.two_sample import permutations, two_sample_test

NAMES = ["mmd_fuse", "mmd2", "energy_distance"]


def normal(seed, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [1, 2])
def test_all_labellings_as_scipy_counts_them(dtype, d):
    x, y = normal(0, 4, d, dtype=dtype), normal(1, 5, d, dtype=dtype) + 1
    for name, function in (("energy_distance", energy_distance), ("mmd2", lambda u, v: mmd2(u, v, bandwidth=1.0))):
        options = {"bandwidth": 1.0} if name == "mmd2" else {}
        test = two_sample_test(x, y, statistic=name, **options)
        pooled = torch.cat([x, y]).double()
        expected = stats.permutation_test(
            (np.arange(4), np.arange(4, 9)),
            lambda u, v, f=function, z=pooled: float(f(z[u], z[v])),
            vectorized=False,
            alternative="greater",
            n_resamples=math.inf,
        )
        assert test.exhaustive
        assert test.n_permutations == math.comb(9, 4) - 1
        assert test.p_value == pytest.approx(expected.pvalue, rel=1e-12)
        assert test.statistic.item() == pytest.approx(expected.statistic, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_p_value_is_never_zero(name):
    test = two_sample_test(normal(2, 30, 2), normal(3, 30, 2) + 10, statistic=name, n_permutations=99)
    assert test.p_value == 0.01
    assert not test.exhaustive
    assert test.null.shape == (99,)


@pytest.mark.parametrize("name", NAMES)
def test_constant_data_has_p_value_one(name):
    for value in (0.0, 0.1, 1e4 / 3):
        assert two_sample_test(torch.full((7, 3), value), torch.full((9, 3), value), statistic=name).p_value == 1


def test_ties_count_against_rejection():
    # Sides of equal size: a labelling and its complement have one value, so no p-value is below 2 / C(2n, n).
    x, y = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([5.1, 5.2, 5.3])
    for name in NAMES:
        for dtype in (torch.float32, torch.float64):
            assert two_sample_test(x.to(dtype), y.to(dtype), statistic=name).p_value == pytest.approx(2 / 20)
    answers, others = torch.tensor([0.0] * 5 + [1.0] * 3), torch.tensor([0.0] * 3 + [1.0] * 5)
    test = two_sample_test(answers, others, statistic="energy_distance", n_permutations=20_000)
    expected = stats.hypergeom(16, 8, 8)
    assert test.p_value == pytest.approx(expected.cdf(3) + expected.sf(4), rel=1e-9)


@pytest.mark.parametrize(("n", "d", "rare", "dtype"), [(2200, 2, 0.01, torch.float32), (300, 40, 0.05, torch.float64)])
def test_labellings_that_tie_are_tied_whatever_the_order_of_their_sums(n, d, rare, dtype):
    """Two distinct points only: the count of one of them on a side decides. The observed rows lie in one piece."""
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.rand(2 * n, generator=generator) < rare
        points = torch.where(
            chosen[:, None], torch.randn(d, generator=generator, dtype=dtype), torch.zeros(1, dtype=dtype)
        )
        labels = permutations(n, n, 99, torch.Generator().manual_seed(seed))
        counts = (labels & chosen[:, None]).sum(0) - chosen.sum() / 2
        expected = float((counts.abs() >= counts[0].abs()).double().mean())
        for name in ("energy_distance", "mmd2"):
            options = {"bandwidth": 1.0} if name == "mmd2" else {}
            test = two_sample_test(
                points[:n],
                points[n:],
                statistic=name,
                n_permutations=99,
                generator=torch.Generator().manual_seed(seed),
                **options,
            )
            assert test.p_value == pytest.approx(expected), name


@pytest.mark.parametrize("name", NAMES)
def test_level_is_exact_over_all_labellings(name):
    """Each labelling in turn as the observed one: a share of at most alpha has p <= alpha, for every alpha."""
    pooled = normal(4, 7, 2)
    p = np.array(
        [two_sample_test(pooled[side], pooled[~side], statistic=name).p_value for side in permutations(3, 4, 99).T]
    )
    assert len(p) == 35
    for alpha in np.unique(p):
        assert (p <= alpha + 1e-12).mean() <= alpha + 1e-12


def test_a_callable_is_called_for_every_labelling():
    x, y = normal(5, 10, 2), normal(6, 12, 2) + 0.5

    def gap(u, v, scale):
        return scale * (u.mean(0) - v.mean(0)).norm()

    test = two_sample_test(
        x, y, statistic=gap, n_permutations=49, generator=torch.Generator().manual_seed(7), scale=2.0
    )
    labels = permutations(10, 12, 49, torch.Generator().manual_seed(7))
    pooled = torch.cat([x, y])
    expected = torch.stack([gap(pooled[side], pooled[~side], 2.0) for side in labels.T])
    torch.testing.assert_close(torch.cat([test.statistic[None], test.null]), expected)
    assert test.name == "gap"
    assert test.p_value == pytest.approx((expected >= expected[0]).double().mean().item())


def test_a_callable_and_the_name_agree():
    x, y = normal(8, 9, 3), normal(9, 11, 3) + 0.6
    seeds = [torch.Generator().manual_seed(10) for _ in range(2)]
    by_name = two_sample_test(x, y, statistic="energy_distance", generator=seeds[0])
    by_call = two_sample_test(x, y, statistic=energy_distance, generator=seeds[1])
    assert by_name.p_value == by_call.p_value
    torch.testing.assert_close(by_name.null, by_call.null)


@pytest.mark.parametrize("name", NAMES)
def test_seeded_and_deaf_to_global_randomness(name):
    x, y = normal(11, 40, 2), normal(12, 30, 2) + 0.2
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = two_sample_test(x, y, statistic=name, n_permutations=99, generator=torch.Generator().manual_seed(13))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(1)
    second = two_sample_test(x, y, statistic=name, n_permutations=99, generator=torch.Generator().manual_seed(13))
    assert first.p_value == second.p_value
    assert torch.equal(first.null, second.null)


def test_options_reach_the_statistic():
    x, y = normal(14, 6, 2), normal(15, 6, 2)
    test = two_sample_test(x, y, statistic="energy_distance", exponent=1.5)
    torch.testing.assert_close(test.statistic, energy_distance(x, y, exponent=1.5))
    test = two_sample_test(x, y, statistic="mmd2", kernel="imq", bandwidth=2.0, estimator="biased")
    torch.testing.assert_close(test.statistic, mmd2(x, y, kernel="imq", bandwidth=2.0, estimator="biased"))
    assert two_sample_test(x, y, n_bandwidths=3).p_value > 0


def test_blocks_undo_pseudo_replication():
    """Eight donors of fifty cells each and no effect: cells of a donor are alike, so cells are not the sample."""
    generator = torch.Generator().manual_seed(16)
    donors = torch.arange(8).repeat_interleave(50)
    cells = 2 * torch.randn(8, generator=generator)[donors] + torch.randn(400, generator=generator)
    x, y = cells[:200], cells[200:]
    naive = two_sample_test(x, y, statistic="energy_distance", n_permutations=199, generator=generator)
    honest = two_sample_test(x, y, statistic="energy_distance", blocks=(donors[:200], donors[200:]))
    assert naive.p_value == 1 / 200
    assert honest.n_permutations == math.comb(8, 4) - 1
    assert honest.p_value > 0.05


def test_strata_hold_the_mix_fixed():
    """One site lies higher and has more of x: no difference within sites."""
    generator = torch.Generator().manual_seed(17)
    sites_x, sites_y = torch.tensor([0] * 40 + [1] * 10), torch.tensor([0] * 10 + [1] * 40)
    x, y = (5.0 * s + torch.randn(50, generator=generator) for s in (sites_x, sites_y))
    naive = two_sample_test(x, y, statistic="energy_distance", n_permutations=199, generator=generator)
    honest = two_sample_test(
        x, y, statistic="energy_distance", n_permutations=199, strata=(sites_x, sites_y), generator=generator
    )
    assert naive.p_value == 1 / 200
    assert honest.p_value > 0.05


def test_it_prints_in_a_line():
    test = two_sample_test(torch.arange(5.0), torch.arange(5.0) + 4, statistic="energy_distance")
    assert repr(test) == (
        "TwoSampleTest(energy_distance=4.8, p_value=0.015873, n=5, m=5, n_permutations=251, exhaustive=True)"
    )


def rejections(name, repetitions, n, m, d, shift, seed, n_permutations=99):
    generator = torch.Generator().manual_seed(seed)
    count = 0
    for _ in range(repetitions):
        x, y = torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator) + shift
        test = two_sample_test(x, y, statistic=name, n_permutations=n_permutations, generator=generator)
        count += test.p_value <= 0.05
    return count


@pytest.mark.parametrize("name", NAMES)
def test_level(name):
    # Binomial(200, 0.05) leaves 2 .. 21 once in 10 000.
    assert 2 <= rejections(name, 200, 12, 15, 2, 0.0, 18) <= 21


@pytest.mark.parametrize("name", NAMES)
def test_power(name):
    assert rejections(name, 20, 30, 30, 2, 1.5, 19) == 20


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n", "m", "d"), [(40, 25, 1), (30, 60, 8)])
def test_level_over_many_samples(name, n, m, d):
    low, high = stats.binom(1000, 0.05).interval(0.9999)
    assert low <= rejections(name, 1000, n, m, d, 0.0, 20, n_permutations=199) <= high


def perturbed_uniform(rng, n, amplitude, bumps=2):
    """Uniform on [0, 1] with smooth bumps of random sign (Schrab et al. 2023, eq. 17), by rejection."""
    signs = rng.choice([-1, 1], bumps)

    def half(v):
        inside = np.abs(v) < 1
        return np.where(inside, np.exp(-1 / np.where(inside, 1 - v**2, 1)), 0)

    def bump(u):
        return half(4 * u + 3) - half(4 * u + 1)

    draws = rng.uniform(size=(6 * n, 2))
    density = 1 + amplitude * np.e * sum(s * bump(bumps * draws[:, 0] - j - 1) for j, s in enumerate(signs))
    kept = draws[draws[:, 1] * (1 + amplitude) <= density, 0]
    assert len(kept) >= n
    return kept[:n]


@pytest.mark.slow
@pytest.mark.parametrize(("amplitude", "published"), [(0.3, 0.505), (0.5, 0.975)])
def test_published_power_of_fuse(amplitude, published):
    rng, generator = np.random.default_rng(21), torch.Generator().manual_seed(22)
    repetitions = 60
    rejected = sum(
        two_sample_test(
            perturbed_uniform(rng, 500, amplitude).astype(np.float32),
            rng.uniform(size=500).astype(np.float32),
            n_permutations=199,
            generator=generator,
        ).p_value
        <= 0.05
        for _ in range(repetitions)
    )
    low, high = stats.binom(repetitions, published).interval(0.999)
    # 199 labellings in place of 2000 cost a little power.
    assert low - 0.08 * repetitions <= rejected <= high


BAD = [
    (
        {"statistic": "mmd"},
        "statistic: expected one of energy_distance, mmd2, mmd_fuse, got 'mmd'. Did you mean 'mmd2'?",
    ),
    (
        {"statistic": lambda x, y: (x.sum() + y.sum()) * math.nan},
        "statistic: expected a finite number for every labelling, got NaN or infinity. Pass another statistic.",
    ),
    (
        {"statistic": lambda x, y: x.mean(0) - y.mean(0)},
        "statistic: expected one number, got shape (2,). Return a scalar from (x, y).",
    ),
    (
        {"y": torch.zeros(2, 3, 2)},
        "y: expected one cloud (n, d), got shape (2, 3, 2). Test one batch element at a time.",
    ),
    (
        {"y": torch.zeros(4, 3)},
        (
            "y: expected shape (..., m, 2) to match x of shape (4, 2), got (4, 3). "
            "Pass points with the same last dimension."
        ),
    ),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=["name", "nan", "vector", "batch", "features"])
def test_bad_calls(options, message):
    options = {"x": torch.ones(4, 2), "y": torch.zeros(4, 2), **options}
    with pytest.raises(ValueError) as caught:
        two_sample_test(options.pop("x"), options.pop("y"), **options)
    assert str(caught.value) == message
