"""Exact transport at every scale: an optimum does not know the unit of the cost."""

from __future__ import annotations

import warnings

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.testing import assert_close

import howfar

D = torch.float64


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e-9, 1.0, 1e9, 1e30, 1e150])
@pytest.mark.parametrize("offset", [0.0, 1.0, -3.0])
def test_the_unit_of_the_cost_does_not_matter(scale, offset):
    matrix = torch.rand(9, 9, dtype=D)
    i, j = linear_sum_assignment(matrix.numpy())
    r = howfar.transport_matrix((matrix + offset) * scale)
    assert_close(r.value / scale, matrix[i, j].mean() + offset, rtol=1e-12, atol=1e-13)
    assert r.converged
    lower, upper = (bound / scale for bound in r.bounds)
    assert_close(lower, upper, rtol=1e-12, atol=1e-12)


def test_a_constant_cost_is_paid_by_any_plan():
    for constant in (0.0, -2.5, 1e200):
        r = howfar.transport_matrix(torch.full((3, 4), constant, dtype=D))
        assert_close(r.value.item(), constant)
        assert_close(r.plan().sum(), torch.ones((), dtype=D))


@pytest.mark.parametrize("p", [1, 1.0001, 2, 10, 50])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_every_order_at_every_scale(p, scale):
    """On a line through the plane, the quantile functions give the answer."""
    x, y = torch.randn(7, dtype=D) * scale, torch.randn(7, dtype=D) * scale
    line = torch.tensor([0.6, 0.8], dtype=D)
    sorted_gap = (x.sort().values - y.sort().values).abs()
    largest = sorted_gap.max()
    expected = largest * (sorted_gap / largest).pow(p).mean() ** (1 / p)
    plane = howfar.wasserstein(x.unsqueeze(-1) * line, y.unsqueeze(-1) * line, p=p)
    assert_close(plane, expected, rtol=1e-6, atol=0)
    assert_close(howfar.wasserstein(x, y, p=p), expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_a_cost_beyond_the_dtype_is_refused(dtype):
    x = torch.full((3, 2), 1e20 if dtype == torch.float32 else 1e200, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(howfar.DomainError, match=r"^cost: expected costs that torch.float\d\d holds"):
            howfar.transport(x, -x)


@pytest.mark.parametrize("distance", [howfar.wasserstein, howfar.sliced_wasserstein])
@pytest.mark.parametrize(("p", "scale"), [(1, 1e30), (2, 1e30), (2, 1e-30), (4, 1e12), (50, 1.0), (50, 1e-3)])
def test_powers_stay_within_float32(distance, p, scale):
    for d in (1, 3):
        x, y = torch.randn(8, d) * scale, torch.randn(6, d) * scale
        options = {} if distance is howfar.wasserstein else {"directions": torch.eye(d)}
        expected = distance(x.double(), y.double(), p=p, **options)
        assert_close(distance(x, y, p=p, **options).double(), expected, rtol=2e-6, atol=0)


def test_sums_of_half_precision_are_wide():
    x, y = torch.full((3, 2), 300.0), torch.full((4, 2), -300.0)
    eye = torch.eye(2)
    got = howfar.sliced_wasserstein(x.half(), y.half(), directions=eye.half())
    assert got.dtype == torch.float16
    assert got.item() == 600.0
    assert howfar.wasserstein(x[:, 0].half(), y[:, 0].half()).item() == 600.0
