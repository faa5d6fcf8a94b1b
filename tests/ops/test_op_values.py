"""softmin, kernel_sum and nearest against SciPy in float64, for every cost, kernel, dimension and dtype."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from op_cases import COSTS, KERNELS, Array, Oracle, clouds, potential
from scipy.special import logsumexp, softmax
from torch import Tensor

from howfar import costs, kernels, ops

EPS = 0.3


def close(got: Tensor, wanted: Array, rel: float = 1e-11) -> None:
    """Equal up to `rel` of the largest number wanted."""
    assert got.shape == wanted.shape
    error = np.abs(got.detach().double().numpy() - wanted).max()
    assert error <= rel * np.abs(wanted).max(), f"{error / np.abs(wanted).max():.2g} of the largest"


def budget(d: int) -> float:
    """What float32 may lose: the rounding of a sum of d terms, and of the few steps around it."""
    return (d**0.5 + 8) * torch.finfo(torch.float32).eps


def scores(oracle: Oracle, x: Tensor, y: Tensor, h: Tensor, eps: float = EPS) -> Array:
    return (h.double().numpy() - oracle(x.double().numpy(), y.double().numpy())) / eps


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", COSTS)
def test_softmin(name: str) -> None:
    cost, oracle = COSTS[name]
    (x, y), h = clouds(11, 9, 3), potential(9)
    s = scores(oracle, x, y, h)
    close(ops.softmin(x, y, h, eps=EPS, cost=cost), -EPS * logsumexp(s, axis=1))
    v = potential(18).reshape(9, 2)
    value, average = ops.softmin_apply(x, y, h, v, eps=EPS, cost=cost)
    close(value, -EPS * logsumexp(s, axis=1))
    close(average, softmax(s, axis=1) @ v.numpy())
    close(
        ops.soft_minimum.softmin_cost(x, y, h, eps=EPS, cost=cost),
        (softmax(s, axis=1) * oracle(x.numpy(), y.numpy())).sum(1),
    )


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", KERNELS)
def test_kernel_sum(name: str) -> None:
    kernel, oracle = KERNELS[name]
    (x, y), w = clouds(11, 9, 3), potential(18).reshape(9, 2)
    wanted = oracle(x.numpy(), y.numpy()) @ w.numpy()
    close(ops.kernel_sum(x, y, w, kernel=kernel), wanted)
    close(ops.kernel_sum(x, y, w[:, 0], kernel=kernel), wanted[:, 0])
    close(kernel.diagonal(x), np.diag(oracle(x.numpy(), x.numpy())))


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", COSTS)
def test_kernel_sum_of_a_cost(name: str) -> None:
    cost, oracle = COSTS[name]
    (x, y), w = clouds(11, 9, 3), potential(9)
    close(ops.kernel_sum(x, y, w, kernel=cost), oracle(x.numpy(), y.numpy()) @ w.numpy())


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", COSTS)
def test_nearest(name: str) -> None:
    cost, oracle = COSTS[name]
    (x, y), h = clouds(11, 9, 3), potential(9)
    reduced = oracle(x.numpy(), y.numpy()) - h.numpy()
    for k in (1, 4, 9):
        values, indices = ops.nearest(x, y, h, k=k, cost=cost)
        close(values, np.sort(reduced, axis=1)[:, :k])
        np.testing.assert_array_equal(indices.numpy(), np.argsort(reduced, axis=1)[:, :k])
        assert indices.dtype == torch.int64


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", ["sqeuclidean", "euclidean", "cityblock", "minkowski 4", "cosine"])
@pytest.mark.parametrize("d", [1, 3, 16, 17, 64, 1000])
def test_every_number_of_features(name: str, d: int) -> None:
    cost, oracle = COSTS[name]
    (x, y), h = clouds(6, 5, d), potential(5)
    close(ops.softmin(x, y, h, eps=EPS, cost=cost), -EPS * logsumexp(scores(oracle, x, y, h), axis=1))
    close(cost.matrix(x, y), oracle(x.numpy(), y.numpy()))
    low = clouds(6, 5, d, dtype=torch.float32)
    exact = oracle(*(t.double().numpy() for t in low))
    close(cost.matrix(*low), exact, rel=budget(d))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("d", [1, 16, 17, 300])
def test_kernels_in_every_number_of_features(name: str, d: int) -> None:
    kernel, oracle = KERNELS[name]
    (x, y), w = clouds(6, 5, d), potential(5)
    close(ops.kernel_sum(x, y, w, kernel=kernel), oracle(x.numpy(), y.numpy()) @ w.numpy(), rel=1e-10)


INVARIANT = ["sqeuclidean", "euclidean", "cityblock", "minkowski 1.5", "minkowski 4", "euclidean ** 3", "a callable"]


@pytest.mark.parametrize("d", [3, 64])
@pytest.mark.parametrize("name", INVARIANT)
@pytest.mark.parametrize(("shift", "scale"), [(1e4, 1.0), (0.0, 1e-4), (0.0, 1e4), (1e4, 1e4), (-1e4, 1e2)])
def test_float32_survives_an_offset_and_any_scale(name: str, d: int, shift: float, scale: float) -> None:
    """The oracle sees the float32 numbers themselves, so what is left is the error of the op."""
    cost, oracle = COSTS[name]
    x, y = ((scale * t + shift).float() for t in clouds(40, 30, d))
    exact = oracle(x.double().numpy(), y.double().numpy())
    eps = float(np.median(exact)) / 10
    h = (potential(30) * np.median(exact)).float()
    s = (h.double().numpy() - exact) / eps
    close(ops.softmin(x, y, h, eps=eps, cost=cost), -eps * logsumexp(s, axis=1), rel=budget(d))
    values, _ = ops.nearest(x, y, h, cost=cost)
    close(values[:, 0], (exact - h.double().numpy()).min(1), rel=budget(d))
    close(ops.kernel_sum(x, y, torch.ones(30), kernel=cost), exact.sum(1), rel=budget(d))


@pytest.mark.parametrize("d", [3, 64])
@pytest.mark.parametrize("name", ["gaussian", "laplacian", "laplacian cityblock", "imq", "energy", "energy 2"])
def test_float32_kernels_survive_an_offset(name: str, d: int) -> None:
    kernel, oracle = KERNELS[name]
    x, y = ((t + 1e4).float() for t in clouds(40, 30, d))
    exact = oracle(x.double().numpy(), y.double().numpy()).sum(1)
    close(ops.kernel_sum(x, y, torch.ones(30), kernel=kernel), exact, rel=budget(d))


@pytest.mark.parametrize("d", [3, 64])
def test_float32_cosine_of_nearly_parallel_vectors(d: int) -> None:
    x, y = ((t + 100).float() for t in clouds(20, 15, d))
    exact = COSTS["cosine"][1](x.double().numpy(), y.double().numpy())
    assert exact.max() < 1e-3
    close(costs.Cosine().matrix(x, y), exact, rel=1e-6)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_result_has_the_dtype_of_the_input_and_the_accuracy_of_float32(dtype: torch.dtype) -> None:
    x, y = clouds(11, 9, 5, dtype=dtype)
    h, w = potential(9, dtype=dtype), potential(9, seed=3, dtype=dtype)
    exact = COSTS["sqeuclidean"][1](x.double().numpy(), y.double().numpy())
    eps_of = torch.finfo(dtype).eps
    # Work in float32 at least: beside it only the rounding of the result is left.
    rel = 1e-13 if dtype == torch.float64 else 0.5 * eps_of + 8 * torch.finfo(torch.float32).eps

    value, average = ops.softmin_apply(x, y, h, w.unsqueeze(-1), eps=EPS)
    s = (h.double().numpy() - exact) / EPS
    close(value, -EPS * logsumexp(s, axis=1), rel=rel)
    close(average[:, 0], softmax(s, axis=1) @ w.double().numpy(), rel=rel)
    total = ops.kernel_sum(x, y, w, kernel=kernels.Gaussian(1.0))
    close(total, np.exp(-exact / 2) @ w.double().numpy(), rel=rel)
    distances, indices = ops.nearest(x, y, k=2)
    close(distances, np.sort(exact, axis=1)[:, :2], rel=rel)
    assert {t.dtype for t in (value, average, total, distances)} == {dtype}
    np.testing.assert_array_equal(indices.numpy(), np.argsort(exact, axis=1)[:, :2])


def test_half_precision_points_far_apart_do_not_overflow_on_the_way() -> None:
    x = torch.tensor([[300.0], [0.0]], dtype=torch.float16)
    assert ops.kernel_sum(x, x, x.new_ones(2), kernel=kernels.Gaussian(300.0)).tolist() == pytest.approx(
        [1 + np.exp(-0.5)] * 2, rel=1e-3
    )


@pytest.mark.parametrize("eps", [1e-6, 1e-3, 1e3, 1e6])
def test_extreme_temperatures(eps: float) -> None:
    (x, y), h = clouds(11, 9, 3, dtype=torch.float32), potential(9, dtype=torch.float32)
    s = scores(COSTS["sqeuclidean"][1], x, y, h, eps)
    close(ops.softmin(x, y, h, eps=eps), -eps * logsumexp(s, axis=1), rel=1e-6)
