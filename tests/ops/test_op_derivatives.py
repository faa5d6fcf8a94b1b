"""First and second derivatives of the three reductions, at once and in blocks, and where the formulas have corners."""

from __future__ import annotations

import pytest
import torch
from op_cases import COSTS, KERNELS, clouds, crooked, potential
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from howfar import DerivativeUnavailable, costs, kernels, ops

EPS = 0.7


def leaves(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.clone().requires_grad_() for t in tensors)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", COSTS)
def test_softmin(name: str) -> None:
    cost, _ = COSTS[name]
    inputs = leaves(*clouds(4, 3, 2), potential(3))
    value = lambda x, y, h: ops.softmin(x, y, h, eps=EPS, cost=cost)
    assert gradcheck(value, inputs)
    assert gradgradcheck(value, inputs, fast_mode=True)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", ["sqeuclidean", "cosine", "a callable"])
def test_softmin_with_values_and_softmin_of_the_cost(name: str) -> None:
    cost, _ = COSTS[name]
    inputs = leaves(*clouds(4, 3, 2), potential(3), potential(6).reshape(3, 2))
    both = lambda x, y, h, v: ops.softmin_apply(x, y, h, v, eps=EPS, cost=cost)
    assert gradcheck(both, inputs)
    assert gradgradcheck(both, inputs, fast_mode=True)
    average = lambda x, y, h: ops.soft_minimum.softmin_cost(x, y, h, eps=EPS, cost=cost)
    assert gradcheck(average, inputs[:3])
    assert gradgradcheck(average, inputs[:3], fast_mode=True)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", [*KERNELS, *COSTS])
def test_kernel_sum(name: str) -> None:
    kernel = KERNELS[name][0] if name in KERNELS else COSTS[name][0]
    inputs = leaves(*clouds(4, 3, 2), potential(6).reshape(3, 2))
    value = lambda x, y, w: ops.kernel_sum(x, y, w, kernel=kernel)
    assert gradcheck(value, inputs)
    assert gradgradcheck(value, inputs, fast_mode=True)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", COSTS)
def test_nearest(name: str) -> None:
    cost, _ = COSTS[name]
    inputs = leaves(*clouds(4, 5, 2), potential(5))
    values = lambda x, y, h: ops.nearest(x, y, h, k=2, cost=cost)[0]
    assert gradcheck(values, inputs)
    assert gradgradcheck(values, inputs, fast_mode=True)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", ["sqeuclidean", "euclidean", "cityblock"])
def test_many_features_and_a_batch(name: str) -> None:
    cost, _ = COSTS[name]
    x, y = clouds(6, 3, 20)
    inputs = leaves(x.reshape(2, 3, 20), y, potential(6).reshape(2, 3))
    value = lambda x, y, h: ops.softmin(x, y, h, eps=torch.tensor([0.3, 2.0]), cost=cost)
    assert gradcheck(value, inputs, fast_mode=True)
    assert gradgradcheck(value, inputs, fast_mode=True)


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_derivatives_in_some_inputs_only(wanted: tuple[int, ...]) -> None:
    inputs = [t.requires_grad_(k in wanted) for k, t in enumerate((*clouds(4, 3, 2), potential(3)))]
    value = lambda x, y, h: ops.softmin(x, y, h, eps=EPS)
    assert gradcheck(value, inputs)
    assert gradgradcheck(value, inputs)
    ops.softmin(*inputs, eps=EPS).sum().backward()
    assert [t.grad is not None for t in inputs] == [k in wanted for k in range(3)]


@pytest.mark.usefixtures("tiny_blocks")
def test_the_same_cloud_on_both_sides() -> None:
    x, h = leaves(clouds(5, 5, 2)[0], potential(5))
    value = lambda x, h: ops.softmin(x, x, h, eps=EPS)
    assert gradcheck(value, (x, h))
    assert gradgradcheck(value, (x, h))


@pytest.mark.usefixtures("tiny_blocks")
def test_a_third_derivative_in_blocks_raises() -> None:
    x, y = leaves(*clouds(4, 3, 2))
    (first,) = torch.autograd.grad(ops.softmin(x, y, potential(3), eps=EPS).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    with pytest.raises(DerivativeUnavailable, match=r"^a reduction in blocks: third derivatives are not available"):
        torch.autograd.grad(second.square().sum() + x.sum(), x)


def test_any_derivative_of_few_pairs_is_there() -> None:
    x, y = leaves(*clouds(2, 3, 1))
    slope = lambda x: torch.autograd.grad(ops.softmin(x, y, potential(3), eps=EPS).sum(), x, create_graph=True)[0]
    assert gradgradcheck(slope, (x,))


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("d", [1, 2, 20])
@pytest.mark.parametrize("name", [*COSTS, *KERNELS])
def test_coincident_points_have_finite_derivatives(name: str, d: int) -> None:
    """Also of second order: a penalty on a gradient meets coincident points like any other loss."""
    summand = KERNELS[name][0] if name in KERNELS else COSTS[name][0]
    cloud = clouds(4, 4, d)[0].index_fill(0, torch.tensor(3), 0.0)
    x, y, w = leaves(cloud, cloud.flip(0), potential(4))
    total = ops.kernel_sum(x, y, w, kernel=summand).sum()
    if name in COSTS:
        total = total + ops.softmin(x, y, w, eps=EPS, cost=summand).sum()
        total = total + ops.nearest(x, y, w, k=2, cost=summand)[0].sum()
    first = torch.autograd.grad(total, (x, y, w), create_graph=True)
    assert all(bool(g.isfinite().all()) for g in first)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), (x, y, w))
    assert all(bool(g.isfinite().all()) for g in second)


@pytest.mark.usefixtures("either_way")
def test_the_hessian_at_coincident_points_is_that_of_the_formula() -> None:
    x = torch.zeros(3, 2, dtype=torch.float64)
    total = lambda z: ops.kernel_sum(z, x, torch.ones(3, dtype=torch.float64), kernel=costs.SqEuclidean()).sum()
    hessian = torch.autograd.functional.hessian(total, x).reshape(6, 6)
    torch.testing.assert_close(hessian, 6 * torch.eye(6, dtype=torch.float64))


@pytest.mark.usefixtures("either_way")
def test_a_point_without_mass_has_no_say_and_its_gradient_is_zero() -> None:
    (x, y), h = clouds(6, 5, 2), potential(5)
    without = h.index_fill(0, torch.tensor([1, 4]), -torch.inf)
    inputs = leaves(x, y, without)
    value, average = ops.softmin_apply(*inputs, y, eps=EPS)
    kept = [0, 2, 3]
    torch.testing.assert_close(value, ops.softmin(x, y[kept], h[kept], eps=EPS))
    torch.testing.assert_close(average, ops.softmin_apply(x, y[kept], h[kept], y[kept], eps=EPS)[1])
    first = torch.autograd.grad(value.sum() + average.square().sum(), inputs, create_graph=True)
    assert all(bool(g.isfinite().all()) for g in first)
    assert first[1][[1, 4]].abs().max() == 0
    assert first[2][[1, 4]].abs().max() == 0
    second = torch.autograd.grad(first[0].square().sum(), inputs[:2])
    assert all(bool(g.isfinite().all()) for g in second)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("op", ["softmin", "softmin_apply", "kernel_sum", "nearest"])
def test_a_parameter_of_a_callable_gets_its_gradient(op: str) -> None:
    (x, y), h = clouds(5, 4, 2), potential(4)
    metric = torch.eye(2, dtype=torch.float64)

    def value(matrix: Tensor, points: Tensor) -> Tensor:
        cost = costs.Custom(lambda x, y: crooked(x @ matrix, y @ matrix))
        if op == "softmin":
            return ops.softmin(points, y, h, eps=EPS, cost=cost)
        if op == "softmin_apply":
            return ops.softmin_apply(points, y, h, y, eps=EPS, cost=cost)[1]
        if op == "kernel_sum":
            return ops.kernel_sum(points, y, h, kernel=cost)
        return ops.nearest(points, y, h, k=2, cost=cost)[0]

    metric[0, 1] = 0.3
    assert gradcheck(value, leaves(metric, x))
    assert gradgradcheck(value, leaves(metric, x), fast_mode=True)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("shift", [1e4, 0.0])
@pytest.mark.parametrize("d", [3, 64])
def test_float32_gradients_survive_an_offset(shift: float, d: int) -> None:
    low = leaves(*((t + shift).float() for t in clouds(20, 15, d)), potential(15, dtype=torch.float32))
    high = leaves(*(t.detach().double() for t in low))
    for cost in ("sqeuclidean", "euclidean", "cityblock"):
        grads, exact = (torch.autograd.grad(ops.softmin(*t, eps=0.5, cost=cost).square().sum(), t) for t in (low, high))
        for g, e in zip(grads, exact, strict=True):
            assert g.dtype == torch.float32
            assert (g.double() - e).abs().max() <= 3e-6 * e.abs().max()


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_inputs_get_gradients_of_their_dtype(dtype: torch.dtype) -> None:
    low = leaves(*clouds(6, 5, 3, dtype=dtype), potential(5, dtype=dtype))
    high = leaves(*(t.detach().double() for t in low))
    for inputs in (low, high):
        ops.softmin(*inputs, eps=EPS).sum().backward()
    for t, e in zip(low, high, strict=True):
        assert t.grad is not None
        assert e.grad is not None
        assert t.grad.dtype == dtype
        assert (t.grad.double() - e.grad).abs().max() <= 2 * torch.finfo(dtype).eps * e.grad.abs().max()


def test_no_derivative_flows_into_a_bandwidth() -> None:
    x, y = clouds(5, 4, 2)
    s = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert not ops.kernel_sum(x.expand(2, 5, 2), y, potential(4), kernel=kernels.Gaussian(s)).requires_grad
