"""Inputs at the edges: half precision, empty batches, numbers that overflow."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import howfar

DISTANCES = {
    "exact": lambda x, y: howfar.transport(x, y).value,
    "entropic": lambda x, y: howfar.transport(x, y, eps=0.5).value,
    "divergence": lambda x, y: howfar.sinkhorn_divergence(x, y, blur=0.7),
    "unbalanced": lambda x, y: howfar.sinkhorn_divergence(x, y, blur=0.7, reach=1.0),
    "distance": lambda x, y: howfar.sinkhorn_distance(x, y, eps="auto"),
    "wasserstein": howfar.wasserstein,
    "line": lambda x, y: howfar.wasserstein(x[..., :1], y[..., :1]),
    "sliced": lambda x, y: howfar.sliced_wasserstein(x, y, directions=torch.eye(2, dtype=x.dtype)),
    "gaussian": howfar.gaussian_wasserstein,
    "frechet": howfar.frechet_distance,
}


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_the_points_and_nothing_else(name, dtype):
    """A uniform weight of 1 / 99 in half precision would give the cloud another mass."""
    x, y = torch.randn(99, 2).to(dtype), (torch.randn(77, 2) + 1).to(dtype)
    expected = DISTANCES[name](x.float(), y.float())
    got = DISTANCES[name](x, y)
    assert_close(got.float(), expected.to(got.dtype).float(), rtol=1e-5, atol=0)


FAR = {torch.float32: 1e30, torch.float64: 1e200}


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("dtype", FAR)
def test_an_overflow_is_an_error_or_does_not_happen(name, dtype):
    x, y = torch.randn(5, 2, dtype=dtype) * FAR[dtype], torch.randn(4, 2, dtype=dtype) * FAR[dtype]
    if name in ("line", "sliced", "wasserstein") or (name == "gaussian" and dtype == torch.float32):
        unit = DISTANCES[name](x / FAR[dtype], y / FAR[dtype])
        assert_close(DISTANCES[name](x, y) / FAR[dtype], unit, rtol=1e-5, atol=0)
    else:
        with pytest.raises(howfar.DomainError, match=r"an overflow|can tell from 0 beside the costs"):
            DISTANCES[name](x, y)


@pytest.mark.parametrize("dtype", FAR)
def test_kernel_sums_that_overflow_are_refused(dtype):
    far = torch.finfo(dtype).max / 4
    with pytest.raises(howfar.DomainError, match="an overflow"):
        howfar.energy_distance(torch.full((5, 2), far, dtype=dtype), torch.full((4, 2), -far, dtype=dtype))


def test_a_large_temperature_keeps_the_distance_of_the_means_in_float32():
    x, y = torch.randn(20, 2), torch.randn(15, 2) + 1
    expected = (x.mean(0) - y.mean(0)).square().sum()
    for eps in (1e3, 1e5, 1e7):
        assert_close(howfar.sinkhorn_divergence(x, y, eps=eps), expected, rtol=3e-3, atol=0)


@pytest.mark.parametrize("eps", [1e-300, 1e-20])
def test_a_temperature_that_rounding_hides_is_refused(eps):
    """The iteration would stop at once, at bounds that do not hold."""
    x, y = torch.randn(6, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    with pytest.raises(howfar.DomainError, match=r"^eps: expected a temperature that torch.float64 can tell from 0"):
        howfar.transport(x, y, eps=eps)


@pytest.mark.parametrize("reach", [1e-16, 1e16])
def test_a_reach_beyond_float32_is_refused(reach):
    with pytest.raises(howfar.DomainError, match=r"^reach: expected 1e-30 <= reach \*\* 2 <= 1e\+30"):
        howfar.sinkhorn_divergence(torch.randn(4, 2), torch.randn(3, 2), eps=1.0, reach=reach)


def test_a_start_from_another_batch_is_refused():
    x, y = torch.randn(6, 2), torch.randn(5, 2)
    batch = howfar.transport(x.expand(3, 6, 2), y, eps=0.5)
    with pytest.raises(howfar.ShapeError, match=r"^init: expected a result on a batch \(\), got one on \(3,\)"):
        howfar.transport(x, y, eps=0.5, init=batch)
    with pytest.raises(howfar.ShapeError, match=r"^init: expected"):
        howfar.transport(x.expand(2, 6, 2), y, eps=0.5, init=batch)
    one = howfar.transport(x, y, eps=0.5)
    assert howfar.transport(x.expand(3, 6, 2), y, eps=0.5, init=one).n_iter == 1


@pytest.mark.parametrize("options", [{}, {"eps": 0.5}])
def test_values_that_are_not_numbers_are_not_transported(options):
    x, y = torch.randn(6, 2), torch.randn(5, 2)
    for r in (howfar.transport(x, y, **options), howfar.transport_matrix(torch.rand(6, 5), **options)):
        with pytest.raises(howfar.DomainError, match=r"^v: expected finite numbers, got nan at v\[1\]"):
            r.apply([0.0, float("nan"), 1.0, 1.0, 1.0])


HURRIED = {"eps": 1e-3, "max_iter": 2}


CALLS = {
    "transport": lambda x, y: howfar.transport(x, y, **HURRIED),
    "transport_matrix": lambda x, y: howfar.transport_matrix(torch.cdist(x, y), **HURRIED),
    "sinkhorn_distance": lambda x, y: howfar.sinkhorn_distance(x, y, **HURRIED),
    "sinkhorn_divergence": lambda x, y: howfar.sinkhorn_divergence(x, y, **HURRIED),
    "SinkhornDivergence": lambda x, y: howfar.nn.SinkhornDivergence(**HURRIED)(x, y),
    "SinkhornDistance": lambda x, y: howfar.nn.SinkhornDistance(**HURRIED)(x, y),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_warning_points_at_the_line_of_the_caller(name):
    with pytest.warns(howfar.NotConverged) as caught:
        CALLS[name](torch.randn(6, 2), torch.randn(5, 2) + 1)
    assert {w.filename for w in caught} == {__file__}


def test_accuracy_is_proved_for_costs_below_zero():
    matrix = torch.rand(6, 5, dtype=torch.float64) - 2
    lower, upper = howfar.transport_matrix(matrix, accuracy=1e-3).bounds
    assert lower <= howfar.transport_matrix(matrix).value + 1e-12
    assert 0 <= upper - lower <= 1e-3 * lower.abs()


@pytest.mark.parametrize("p", [1, 1.5, 2])
def test_a_distance_below_zero_is_refused(p):
    with pytest.raises(howfar.DomainError, match=r"^cost: expected numbers >= 0, got -"):
        howfar.wasserstein(torch.zeros(3, 2), torch.ones(4, 2), p=p, cost=lambda x, y: -torch.cdist(x, y))
