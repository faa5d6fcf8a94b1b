"""Statistics of all labellings at once are those of one labelling at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

from howfar import kernels
from howfar.kernel_distances import MultiBandwidth, energy_distance, median_distance, mmd2
from howfar.two_sample import energy_null, energy_null_1d, mmd2_null, mmd_fuse_null, pair_sums, permutations

F64 = torch.float64
N, M = 9, 7
LABELS = permutations(N, M, 12, torch.Generator().manual_seed(0))
BLOCKED = permutations(
    N, M, 12, torch.Generator().manual_seed(0), blocks=[0, 0, 0, *range(1, 7), 9, 9, 9, 9, *range(10, 13)]
)


def cloud(seed, n, d, dtype=F64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def one_by_one(points, labels, statistic):
    return torch.stack([statistic(points[side], points[~side]) for side in labels.T])


@pytest.fixture(params=[2**22, 16], ids=["one block", "many blocks"])
def _blocks(request, monkeypatch):
    monkeypatch.setattr(pair_sums, "BLOCK_ELEMENTS", request.param)
    monkeypatch.setattr(pair_sums, "LABEL_ELEMENTS", 5 * request.param)
    from howfar.two_sample import statistics

    monkeypatch.setattr(statistics, "BLOCK_ELEMENTS", 8 * request.param)


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("labels", [LABELS, BLOCKED], ids=["rows", "blocks"])
class TestEveryLabelling:
    @pytest.mark.parametrize("d", [1, 3])
    @pytest.mark.parametrize("exponent", [1.0, 1.5])
    def test_energy(self, labels, d, exponent):
        points = cloud(1, N + M, d).round(decimals=1)
        expected = one_by_one(points, labels, lambda x, y: energy_distance(x, y, exponent=exponent))
        torch.testing.assert_close(energy_null(points, labels, exponent=exponent), expected)

    def test_energy_on_the_line_with_ties(self, labels):
        values = torch.tensor([0.0, 1, 1, 1, 2, 2, 0, 0, 1, 5, 5, 5, 1, 1, 0, 2], dtype=F64)
        expected = one_by_one(values, labels, energy_distance)
        torch.testing.assert_close(energy_null_1d(values, labels), expected)

    @pytest.mark.parametrize("estimator", ["unbiased", "biased"])
    @pytest.mark.parametrize("kernel", ["gaussian", "laplacian", "polynomial", "linear"])
    def test_mmd2(self, labels, estimator, kernel):
        points = cloud(2, N + M, 2)
        width = {"bandwidth": 0.8} if kernel in ("gaussian", "laplacian") else {}
        expected = one_by_one(points, labels, lambda x, y: mmd2(x, y, kernel=kernel, estimator=estimator, **width))
        torch.testing.assert_close(mmd2_null(points, labels, kernel=kernel, estimator=estimator, **width), expected)

    @pytest.mark.parametrize("rule", ["median", MultiBandwidth(num=3)], ids=["median", "multi"])
    def test_bandwidths_come_from_the_pool(self, labels, rule):
        points = cloud(3, N + M, 2)
        expected = one_by_one(points, labels, lambda x, y: mmd2(x, y, bandwidth=rule))
        torch.testing.assert_close(mmd2_null(points, labels, bandwidth=rule), expected)

    def test_fuse(self, labels):
        points = cloud(4, N + M, 3)
        expected = [fuse(points[side].numpy(), points[~side].numpy(), points.numpy()) for side in labels.T]
        np.testing.assert_allclose(mmd_fuse_null(points, labels).numpy(), expected, rtol=1e-9)


def fuse(x, y, pooled):
    """MMD-FUSE of one labelling, from dense matrices."""
    r = min(len(x), len(y))
    scores = []
    for norm, formula in (
        ("euclidean", lambda u: np.exp(-(u**2) / 2)),
        ("cityblock", lambda u: np.exp(-np.sqrt(2) * u)),
    ):
        apart = np.sort(cdist(pooled, pooled, norm)[np.triu_indices(len(pooled), 1)])
        low, high = apart[int(0.05 * len(apart))] / 2, 2 * apart[int(0.95 * len(apart))]
        for width in np.linspace(low, high, 10):
            gram = [formula(cdist(u, v, norm) / width) for u, v in ((x, x), (y, y), (x, y), (pooled, pooled))]
            own = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in gram[:2]]
            value = sum(own) - 2 * gram[2].mean()
            scores.append(r * (r - 1) * value / np.sqrt((gram[3] ** 2).sum() - len(pooled)))
    sharpness = np.sqrt(r * (r - 1))
    return (logsumexp(sharpness * np.array(scores)) - np.log(len(scores))) / sharpness


def test_observed_statistic_is_the_distance():
    x, y = cloud(5, 12, 4), cloud(6, 20, 4) + 0.5
    pooled, labels = torch.cat([x, y]), permutations(12, 20, 1, torch.Generator())
    torch.testing.assert_close(energy_null(pooled, labels)[0], energy_distance(x, y))
    torch.testing.assert_close(mmd2_null(pooled, labels)[0], mmd2(x, y))
    s = float(median_distance(pooled))
    torch.testing.assert_close(mmd2_null(pooled, labels, kernel=kernels.Gaussian(s))[0], mmd2(x, y))


@pytest.mark.parametrize("d", [1, 2, 20])
@pytest.mark.parametrize("null", [energy_null, mmd2_null, mmd_fuse_null])
def test_shifted_float32(null, d):
    points = cloud(7, 200, d, torch.float32) + 1e4
    labels = permutations(120, 80, 20, torch.Generator().manual_seed(8))
    truth = null(points.double(), labels)
    torch.testing.assert_close(null(points, labels), truth, rtol=1e-3, atol=1e-5 * truth.abs().max().item())


def test_coincident_points():
    labels = permutations(4, 4, 99)
    for null in (energy_null, mmd2_null, mmd_fuse_null):
        assert (null(torch.zeros(8, 2), labels) == 0).all()
        assert torch.isfinite(null(torch.tensor([0.0] * 7 + [1.0]), labels)).all()


def test_many_points_take_a_random_subset_for_the_bandwidth():
    points, labels = cloud(9, 2500, 1), permutations(1250, 1250, 2, torch.Generator())
    first, second, third = (
        mmd2_null(points, labels, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    torch.testing.assert_close(first, third, rtol=0.2, atol=1e-5)


BAD = [
    (
        lambda: energy_null(torch.zeros(2, 3, 1), torch.ones(3, 1, dtype=torch.bool)),
        "points: expected one cloud (N, d), got shape (2, 3, 1). Test one batch element at a time.",
    ),
    (
        lambda: energy_null(torch.zeros(3, 1), torch.ones(4, 1, dtype=torch.bool)),
        (
            "labels: expected shape (3, B), one row per pooled point, got (4, 1). "
            "Pass True where a pooled point is called x, one column per labelling."
        ),
    ),
    (
        lambda: mmd2_null(torch.zeros(3, 1), permutations(1, 2, 9)),
        (
            "x and y: expected at least 2 points on either side in every labelling, got 1. "
            "Pass statistic='energy_distance', which single points have too."
        ),
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=["batch", "rows", "single"])
def test_bad_calls(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.slow
def test_memory_of_many_labels_is_that_of_their_bits(peak_growth):
    preparation = """
import torch
from howfar.two_sample import energy_null
points, labels = torch.randn(200, 2), torch.rand(200, 2_000_000) < 0.5
"""
    assert peak_growth(preparation, "energy_null(points, labels)") < 2_150, (
        "MiB: in float64 the labels alone would have 3.2 GB"
    )


@pytest.mark.slow
@pytest.mark.parametrize("null", ["energy_null", "mmd2_null", "mmd_fuse_null"])
def test_memory_is_that_of_the_labels(null, peak_growth):
    preparation = f"""
import torch
from howfar.two_sample import {null}, permutations
points, labels = torch.randn(16_000, 2), permutations(8_000, 8_000, 15, torch.Generator())
{null}(points[:64], labels[7_968:8_032])
"""
    assert peak_growth(preparation, f"{null}(points, labels)") < 245, "MiB: one (N, N) float32 matrix alone has 1 GB"
