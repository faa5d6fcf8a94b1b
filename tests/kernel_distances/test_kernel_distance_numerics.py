"""Derivatives, shifted data, coincident points, batches, dtypes, memory."""

from __future__ import annotations

import pytest
import torch

from howfar.kernel_distances import energy_distance, mmd, mmd2, multi_kernel_mmd, witness

F64 = torch.float64


def clouds(seed, *shapes, dtype=F64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator, dtype=dtype) for shape in shapes]


def simplex(seed, *shape):
    weights = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64) + 0.1
    return weights / weights.sum(-1, keepdim=True)


def free_of_the_simplex(function, a, b):
    """Finite differences leave the simplex by more than the check of user input allows: normalise inside."""
    return function(a / a.sum(-1, keepdim=True), b / b.sum(-1, keepdim=True))


CASES = {
    "unbiased": lambda x, y, a, b: mmd2(x, y, a=a, b=b, bandwidth=1.3),
    "biased": lambda x, y, a, b: mmd2(x, y, a=a, b=b, bandwidth=[1.0, 2.0], estimator="biased"),
    "laplacian": lambda x, y, a, b: mmd2(x, y, a=a, b=b, kernel="laplacian", bandwidth=1.3, estimator="biased"),
    "polynomial": lambda x, y, a, b: mmd2(x, y, a=a, b=b, kernel="polynomial", estimator="biased"),
    "energy": lambda x, y, a, b: energy_distance(x, y, a=a, b=b),
    "energy unbiased": lambda x, y, a, b: energy_distance(x, y, a=a, b=b, estimator="unbiased", exponent=1.5),
    "mmd": lambda x, y, a, b: mmd(x, y + 1, a=a, b=b, bandwidth=1.3, estimator="biased"),
    "witness": lambda x, y, a, b: witness(x, y, x, a=a, b=b, bandwidth=1.3),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("d", [1, 2])
def test_first_and_second_derivatives(name, d):
    x, y = clouds(0, (2, 4, d), (3, d))
    a, b = simplex(1, 4), simplex(2, 3)
    inputs = [t.requires_grad_() for t in (x, y, a, b)]

    def function(x, y, a, b):
        return free_of_the_simplex(lambda a, b: CASES[name](x, y, a, b), a, b)

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("estimator", ["linear", "block"])
def test_derivatives_of_estimators_without_weights(estimator):
    x, y = (t.requires_grad_() for t in clouds(3, (2, 6, 2), (2, 5, 2)))
    function = lambda x, y: mmd2(x, y, bandwidth=1.3, estimator=estimator)
    assert torch.autograd.gradcheck(function, (x, y))
    assert torch.autograd.gradgradcheck(function, (x, y))


SHIFTED = {
    "mmd2": mmd2,
    "multi kernel": multi_kernel_mmd,
    "linear": lambda x, y: mmd2(x, y, estimator="linear"),
    "energy": energy_distance,
    "energy unbiased": lambda x, y: energy_distance(x, y, estimator="unbiased"),
}


@pytest.mark.parametrize("name", SHIFTED)
@pytest.mark.parametrize("d", [1, 3, 40])
def test_shifted_float32(name, d):
    x, y = clouds(4, (300, d), (200, d), dtype=torch.float32)
    # What float32 keeps of the shifted points is the data; the distance has to be that of these points.
    x, y = x + 1e4, y + 1e4 + 0.5
    truth = SHIFTED[name](x.double(), y.double())
    torch.testing.assert_close(SHIFTED[name](x, y).double(), truth, rtol=2e-4, atol=2e-6)


DISTANCES = {
    "mmd2": lambda x, y: mmd2(x, y, estimator="biased"),
    "mmd2 laplacian": lambda x, y: mmd2(x, y, kernel="laplacian", estimator="biased"),
    "mmd": lambda x, y: mmd(x, y, estimator="biased"),
    "multi kernel": multi_kernel_mmd,
    "energy": energy_distance,
}


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("d", [1, 2, 30])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_zero_with_finite_gradient_on_equal_clouds(name, d, dtype):
    (x,) = clouds(5, (6, d), dtype=dtype)
    for cloud in (x, x[:1], x[:1].repeat(4, 1), torch.zeros(3, d, dtype=dtype)):
        first, second = cloud.clone().requires_grad_(), cloud.clone().requires_grad_()
        value = DISTANCES[name](first, second)
        assert abs(value.item()) <= (1e-7 if name != "mmd" else 1e-3)
        for grad in torch.autograd.grad(value, (first, second)):
            assert torch.isfinite(grad).all()
            assert grad.abs().max() < 10


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("d", [1, 2])
def test_batch_is_a_loop(name, d):
    x, y = clouds(6, (2, 1, 5, d), (3, 4, d))
    values = DISTANCES[name](x, y)
    assert values.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(values[i, j], DISTANCES[name](x[i, 0], y[j]))


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, F64])
def test_dtype_is_kept(name, d, dtype):
    x, y = (t.to(dtype) for t in clouds(7, (5, d), (4, d)))
    value = DISTANCES[name](x, y)
    assert value.dtype == dtype
    torch.testing.assert_close(value.double(), DISTANCES[name](x.double(), y.double()), rtol=2e-2, atol=1e-3)


def test_half_precision_does_not_overflow():
    x, y = torch.full((3, 2), 500.0, dtype=torch.float16), torch.zeros(3, 2, dtype=torch.float16)
    assert energy_distance(x, y).item() == pytest.approx(2 * 500 * 2**0.5, rel=1e-3)
    assert torch.isfinite(mmd2(x, y, estimator="biased"))


@pytest.mark.slow
@pytest.mark.parametrize("call", ["mmd2(x, y)", "energy_distance(x, y)", "witness(x, y, x).sum()"])
def test_memory_is_linear(call, peak_growth):
    preparation = """
import torch
from howfar.kernel_distances import energy_distance, mmd2, witness
x, y = torch.randn(12_000, 3, requires_grad=True), torch.randn(12_000, 3)
mmd2(x[:500], y[:500]).backward()
"""
    assert peak_growth(preparation, f"({call}).backward()") < 195, "MiB: one (n, n) float32 matrix alone has 576 MB"


def test_shift_that_the_dtype_holds_changes_nothing():
    x, y = ((64 * cloud).round() / 64 for cloud in clouds(8, (50, 1), (40, 1)))
    torch.testing.assert_close(energy_distance(x + 2.0**30, y + 2.0**30), energy_distance(x, y), rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["mmd2", "energy"])
def test_curvature_at_equal_clouds_in_another_order(name):
    """The value is zero up to rounding of either sign; the second derivative must not depend on that sign."""
    (x,) = clouds(9, (5, 2))
    generator = torch.Generator().manual_seed(10)
    function = (lambda u, v: energy_distance(u, v, exponent=2.0)) if name == "energy" else DISTANCES[name]
    expected = torch.autograd.functional.hessian(lambda u: function(u, x), x)
    assert expected.abs().max() > 1e-3
    for _ in range(10):
        y = x[torch.randperm(5, generator=generator)]
        torch.testing.assert_close(torch.autograd.functional.hessian(lambda u, y=y: function(u, y), x), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("distance", [energy_distance, lambda x, y: mmd2(x, y, bandwidth=1.0)])
def test_half_precision_does_not_round_the_uniform_weights(distance, dtype, d):
    """999 times the 1 / 999 of half precision is not one, and unequal masses would add to the distance."""
    x, y = (t.to(dtype) for t in clouds(5, (999, d), (77, d)))
    expected = distance(x.float(), y.float())
    torch.testing.assert_close(distance(x, y).float(), expected, rtol=torch.finfo(dtype).eps, atol=0)
