"""The bandwidth rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from howfar import kernels
from howfar.kernel_distances import MultiBandwidth, median_distance, mmd2
from howfar.kernel_distances.bandwidths import mean_squared_distance


@pytest.mark.parametrize("n", [2, 5, 6, 40])
def test_median_of_pairs(n):
    points = np.random.default_rng(n).normal(size=(n, 3))
    assert median_distance(torch.from_numpy(points)).item() == pytest.approx(np.median(pdist(points)), rel=1e-12)
    weights = torch.ones(n, dtype=torch.float64)
    assert median_distance(torch.from_numpy(points), weights).item() == pytest.approx(np.median(pdist(points)))


def test_median_counts_weights_as_repetitions_of_pairs():
    points, counts = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([1.0, 3.0, 1.0])
    # Pairs at 1 (three times), at 5 (once), at 4 (three times): the middle of seven is the fourth.
    assert median_distance(points, counts).item() == 4


def test_points_without_weight_have_no_say():
    x, y = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([2.0, 7.0])
    padded = torch.cat([x, torch.tensor([1e6, -1e6])])
    third = 1 / 3
    for bandwidth in ("median", MultiBandwidth()):
        value = mmd2(padded, y, a=[third, third, third, 0, 0], b=[0.5, 0.5], bandwidth=bandwidth)
        torch.testing.assert_close(value, mmd2(x, y, bandwidth=bandwidth), rtol=1e-4, atol=1e-6)


def test_median_where_most_pairs_coincide():
    points = torch.tensor([[0.0], [0.0], [0.0], [0.0], [3.0]])
    assert median_distance(points).item() == 3
    assert median_distance(torch.zeros(4, 2)).item() == 1
    assert median_distance(torch.zeros(1, 2)).item() == 1


def test_median_of_many_points_is_close():
    points = torch.randn(9000, 2, generator=torch.Generator().manual_seed(0))
    # |N(0, 2 I)| in the plane has median sqrt(4 log 2).
    assert median_distance(points).item() == pytest.approx((4 * np.log(2)) ** 0.5, rel=0.03)


def test_median_is_per_batch_element():
    points = torch.randn(2, 3, 7, 2, generator=torch.Generator().manual_seed(1))
    medians = median_distance(points)
    assert medians.shape == (2, 3)
    assert medians[1, 2] == median_distance(points[1, 2])


def test_mean_squared_distance_of_pairs():
    points = np.random.default_rng(3).normal(size=(9, 4)) + 1e4
    expected = (pdist(points) ** 2).mean()
    assert mean_squared_distance(torch.from_numpy(points)).item() == pytest.approx(expected, rel=1e-9)
    counts = np.array([1, 2, 1, 1, 3, 1, 1, 1, 2], dtype=float)
    pairs = np.outer(counts, counts)[np.triu_indices(9, 1)]
    # Weights of effective size 1 / sum w^2, as the pool of two clouds has them.
    weights = counts / counts.sum() * counts.sum() ** 2 / (counts**2).sum()
    value = mean_squared_distance(torch.from_numpy(points), torch.from_numpy(weights)).item()
    assert value == pytest.approx((pairs * pdist(points) ** 2).sum() / pairs.sum(), rel=1e-9)


def test_a_list_sums_its_kernels():
    x, y = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    several = mmd2(x, y, bandwidth=[0.5, 2.0], kernel="laplacian")
    torch.testing.assert_close(
        several, mmd2(x, y, bandwidth=0.5, kernel="laplacian") + mmd2(x, y, bandwidth=2.0, kernel="laplacian")
    )


def test_a_tensor_holds_one_bandwidth_per_batch_element():
    x, y = torch.randn(2, 3, 6, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    widths = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    for estimator in ("unbiased", "biased", "linear", "block"):
        expected = torch.stack([mmd2(x[i], y[i], bandwidth=float(widths[i]), estimator=estimator) for i in range(3)])
        torch.testing.assert_close(mmd2(x, y, bandwidth=widths, estimator=estimator), expected)


def test_no_derivative_flows_into_a_bandwidth():
    x, y = torch.tensor([[0.0]], requires_grad=True), torch.tensor([[2.0]])
    mmd2(x, y, estimator="biased").backward()
    # -2 exp(-1/2) at s = 2, derivative -2 * exp(-1/2) * 2 / 4 with s held.
    assert x.grad.item() == pytest.approx(-np.exp(-0.5), rel=1e-6)


def test_rules_of_the_family():
    with pytest.raises(ValueError, match="mul: expected a number > 0"):
        MultiBandwidth(mul=0.0)
    with pytest.raises(ValueError, match="num: expected an integer >= 1"):
        MultiBandwidth(num=0)
    with pytest.raises(ValueError, match="base: expected a number > 0"):
        MultiBandwidth(base=-1.0)


X, Y = torch.zeros(3, 2), torch.ones(3, 2)
BAD = [
    (
        {"bandwidth": 0.0},
        "bandwidth: expected a number > 0 (in units of the data), got 0. Pass a larger bandwidth.",
    ),
    (
        {"bandwidth": [1.0, -1.0]},
        "bandwidth: expected a number > 0 (in units of the data), got -1. Pass a larger bandwidth.",
    ),
    ({"bandwidth": "mean"}, "bandwidth: expected one of median, got 'mean'. Did you mean 'median'?"),
    (
        {"kernel": "linear", "bandwidth": 1.0},
        (
            "bandwidth: expected nothing beside the 'linear' kernel, which has none, got 1.0. Leave bandwidth out: "
            "only kernels named 'gaussian', 'laplacian', 'imq', 'rational_quadratic' take it."
        ),
    ),
    (
        {"kernel": kernels.Gaussian(1.0), "bandwidth": 2.0},
        (
            "bandwidth: expected nothing beside a kernel object, got 2.0. Leave bandwidth out: "
            "only kernels named 'gaussian', 'laplacian', 'imq', 'rational_quadratic' take it."
        ),
    ),
    (
        {"kernel": "gausian"},
        (
            "kernel: expected one of energy, gaussian, imq, laplacian, linear, polynomial, rational_quadratic, "
            "got 'gausian'. Did you mean 'gaussian'?"
        ),
    ),
    (
        {"estimator": "u"},
        (
            "estimator: expected one of biased, block, linear, unbiased, got 'u'. "
            "Pass one of biased, block, linear, unbiased."
        ),
    ),
    (
        {"block_size": 2},
        "block_size: expected nothing with estimator='unbiased', got 2. Leave it out.",
    ),
    (
        {"estimator": "linear", "a": [0.5, 0.25, 0.25]},
        (
            "a: expected no weights with estimator='linear', got weights. "
            "Pass estimator='unbiased' or 'biased', which take weights."
        ),
    ),
    (
        {"estimator": "block", "block_size": 4},
        "x: expected at least 4 points for estimator='block', got 3. Pass a smaller block_size, or estimator='biased'.",
    ),
    (
        {"b": [1.0, 0.0, 0.0]},
        (
            "b: expected mass on at least 2 points for estimator='unbiased', got all mass on one point. "
            "Pass estimator='biased', which single points have too."
        ),
    ),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_calls(options, message):
    with pytest.raises(ValueError) as caught:
        mmd2(X, Y, **options)
    assert str(caught.value) == message


def test_single_points_have_no_unbiased_estimate():
    with pytest.raises(ValueError) as caught:
        mmd2(X[:1], Y)
    assert str(caught.value) == (
        "x: expected at least 2 points for estimator='unbiased', got 1. "
        "Pass estimator='biased', which single points have too."
    )
