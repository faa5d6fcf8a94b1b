"""The soft minimum of the GPU against the reference in float64: values, averages, gradients."""

from __future__ import annotations

import sys

import pytest
import torch
from kernel_cases import COSTS, close, cloud, numbers, tolerance
from torch import Tensor

if sys.platform != "linux":
    pytest.skip("triton is built for Linux only", allow_module_level=True)

from howfar import costs
from howfar.ops import triton_tiles
from howfar.ops.soft_minimum import reference
from howfar.ops.soft_minimum import triton as kernels

EPS = 0.3
DTYPES = [torch.float32, torch.float64]


def high(*tensors: Tensor) -> list[Tensor]:
    return [t.double().cpu() for t in tensors]


def on(device: torch.device, dtype: torch.dtype, *tensors: Tensor) -> list[Tensor]:
    return [t.to(device, dtype) for t in tensors]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COSTS)
def test_every_cost(name: str, dtype: torch.dtype, device: torch.device) -> None:
    x, y, h, v = on(device, dtype, cloud(20, 3), cloud(70, 3, seed=2), numbers(70), numbers(70, 2))
    eps = torch.tensor(EPS, dtype=dtype, device=device)
    wanted = reference.softmin_apply(*high(x, y, h, v, eps), COSTS[name])
    rel = 20 * tolerance(dtype, 3) if "minkowski" in name or "cosine" in name else 2 * tolerance(dtype, 3)
    got = kernels.softmin_apply(x, y, h, v, eps, COSTS[name])
    close(got[..., 0], wanted[..., 0], rel)
    close(got[..., 1:], wanted[..., 1:], 4 * rel)
    close(kernels.softmin(x, y, h, eps, COSTS[name]), wanted[..., 0], rel)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize(("d", "q"), [(3, 2), (20, 5)])
def test_many_tiles(d: int, q: int, device: torch.device) -> None:
    x, y, h, v = on(device, torch.float32, cloud(130, d), cloud(150, d, seed=2), numbers(150), numbers(150, q))
    eps = torch.tensor(EPS, device=device)
    wanted = reference.softmin_apply(*high(x, y, h, v, eps), costs.SqEuclidean())
    close(kernels.softmin_apply(x, y, h, v, eps, costs.SqEuclidean()), wanted, 2 * tolerance(torch.float32, d))
    compare_gradients(x, y, h, v, eps, costs.SqEuclidean(), 8 * tolerance(torch.float32, d))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "q"), [(1, 1), (2, 4), (16, 5), (17, 17), (33, 3), (64, 70), (130, 1)])
def test_features_and_columns(d: int, q: int, dtype: torch.dtype, device: torch.device) -> None:
    x, y, h, v = on(device, dtype, cloud(5, d), cloud(66, d, seed=2), numbers(66), numbers(66, q))
    eps = torch.tensor(EPS, dtype=dtype, device=device)
    wanted = reference.softmin_apply(*high(x, y, h, v, eps), costs.SqEuclidean())
    close(kernels.softmin_apply(x, y, h, v, eps, costs.SqEuclidean()), wanted, 4 * tolerance(dtype, d))


@pytest.mark.parametrize("name", ["sqeuclidean", "cityblock", "cosine"])
def test_a_thousand_features(name: str, device: torch.device) -> None:
    x, y, h = on(device, torch.float32, cloud(3, 1024), cloud(5, 1024, seed=2), numbers(5))
    eps = torch.tensor(EPS, device=device)
    wanted = reference.softmin(*high(x, y, h, eps), COSTS[name])
    close(kernels.softmin(x, y, h, eps, COSTS[name]), wanted, tolerance(torch.float32, 1024))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 64), (128, 1), (127, 65), (129, 63)])
def test_ragged_ends(n: int, m: int, device: torch.device) -> None:
    x, y, h, v = on(device, torch.float64, cloud(n, 2), cloud(m, 2, seed=2), numbers(m), numbers(m, 3))
    eps = torch.tensor(EPS, dtype=torch.float64, device=device)
    wanted = reference.softmin_apply(*high(x, y, h, v, eps), costs.Euclidean())
    close(kernels.softmin_apply(x, y, h, v, eps, costs.Euclidean()), wanted, 1e-13)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("d", [2, 20])
def test_points_that_are_taken_out(d: int, device: torch.device) -> None:
    """Whole tiles of them, the first and the last one among them."""
    x, y, h, v = on(device, torch.float32, cloud(9, d), cloud(300, d, seed=2), numbers(300), numbers(300, 2))
    eps = torch.tensor(EPS, device=device)
    kept = torch.arange(100, 280, 3, device=device)
    only = torch.full_like(h, -torch.inf)
    only[kept] = h[kept]
    got = kernels.softmin_apply(x, y, only, v, eps, costs.SqEuclidean())
    wanted = reference.softmin_apply(*high(x, y[kept], h[kept], v[kept], eps), costs.SqEuclidean())
    close(got, wanted, 2 * tolerance(torch.float32, d))
    grad = numbers(9, 3).to(x)
    grads = kernels.gradient_apply((True,) * 4, grad, (x, y, only, v), (got,), eps, costs.SqEuclidean())
    gone = torch.ones_like(h, dtype=torch.bool)
    gone[kept] = False
    assert all(bool(g.isfinite().all()) for g in grads if g is not None)
    assert all(g is not None and g[gone].abs().max() == 0 for g in grads[1:])


@pytest.mark.parametrize("d", [2, 20])
@pytest.mark.parametrize("shared", ["nothing", "x", "y", "x and y", "some"])
def test_batches(shared: str, d: int, device: torch.device) -> None:
    dtype = torch.float32
    x, y, h = on(device, dtype, cloud(2, 3, 7, d), cloud(2, 3, 11, d, seed=2), numbers(2, 3, 11))
    if shared in ("x", "x and y"):
        x = x[0, 0].expand(2, 3, 7, d)
    if shared in ("y", "x and y"):
        y = y[0, 0].expand(2, 3, 11, d)
    if shared == "some":
        x, y, h = x[:, :1].expand(2, 3, 7, d), y[:1].expand(2, 3, 11, d), h[:1].expand(2, 3, 11)
    eps = torch.tensor([[0.3, 0.5, 1.0], [2.0, 0.1, 0.7]], dtype=dtype, device=device)
    v = numbers(2, 3, 11, 2).to(x)
    wanted = reference.softmin_apply(*high(x, y, h, v, eps), costs.SqEuclidean())
    got = kernels.softmin_apply(x, y, h, v, eps, costs.SqEuclidean())
    close(got, wanted, 2 * tolerance(dtype, d))
    compare_gradients(x, y, h, v, eps, costs.SqEuclidean(), 8 * tolerance(dtype, d))


def compare_gradients(
    x: Tensor, y: Tensor, h: Tensor, v: Tensor | None, eps: Tensor, cost: costs.Cost, rel: float
) -> None:
    """Ours against autograd through the reference in float64; for v = None of the values alone."""
    inputs = [t.requires_grad_() for t in high(x, y, h, *(() if v is None else (v,)))]
    exact = eps.double().cpu()
    if v is None:
        out = reference.softmin(*inputs, exact, cost)
        ours = kernels.softmin(x, y, h, eps, cost)
    else:
        out = reference.softmin_apply(*inputs, exact, cost)
        ours = kernels.softmin_apply(x, y, h, v, eps, cost)
    grad = numbers(*out.shape, seed=5)
    wanted = torch.autograd.grad(out, inputs, grad)
    seed = grad.to(x)
    if v is None:
        got = kernels.gradient((True,) * 3, seed, (x, y, h), (ours,), eps, cost)
    else:
        got = kernels.gradient_apply((True,) * 4, seed, (x, y, h, v), (ours,), eps, cost)
    for g, w in zip(got, wanted, strict=True):
        assert g is not None
        assert g.dtype == x.dtype
        close(g, w, rel)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COSTS)
def test_gradients_of_every_cost(name: str, dtype: torch.dtype, device: torch.device) -> None:
    x, y, h, v = on(device, dtype, cloud(20, 3), cloud(70, 3, seed=2), numbers(70), numbers(70, 2))
    eps = torch.tensor(EPS, dtype=dtype, device=device)
    compare_gradients(x, y, h, v, eps, COSTS[name], 30 * tolerance(dtype, 3))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "q"), [(1, 1), (17, 17), (40, 3), (130, 40)])
def test_gradients_of_features_and_columns(d: int, q: int, dtype: torch.dtype, device: torch.device) -> None:
    x, y, h, v = on(device, dtype, cloud(5, d), cloud(66, d, seed=2), numbers(66), numbers(66, q))
    eps = torch.tensor(EPS, dtype=dtype, device=device)
    compare_gradients(x, y, h, None, eps, costs.SqEuclidean(), 10 * tolerance(dtype, d))
    compare_gradients(x, y, h, v, eps, costs.SqEuclidean(), 10 * tolerance(dtype, d))


def test_gradients_that_are_not_wanted(device: torch.device) -> None:
    x, y, h = on(device, torch.float32, cloud(5, 3), cloud(6, 3, seed=2), numbers(6))
    eps = torch.tensor(EPS, device=device)
    value = kernels.softmin(x, y, h, eps, costs.SqEuclidean())
    everything = kernels.gradient((True,) * 3, value, (x, y, h), (value,), eps, costs.SqEuclidean())
    for i in range(3):
        wanted = (i == 0, i == 1, i == 2)
        grads = kernels.gradient(wanted, value, (x, y, h), (value,), eps, costs.SqEuclidean())
        assert [g is not None for g in grads] == list(wanted)
        torch.testing.assert_close(grads[i], everything[i], rtol=0, atol=0)


@pytest.mark.parametrize("name", COSTS)
def test_coincident_points_have_finite_gradients(name: str, device: torch.device) -> None:
    (x,) = on(device, torch.float32, cloud(6, 3))
    x[5] = 0
    h, eps = torch.zeros(6, device=device), torch.tensor(EPS, device=device)
    value = kernels.softmin(x, x, h, eps, COSTS[name])
    grads = kernels.gradient((True,) * 3, torch.ones_like(value), (x, x, h), (value,), eps, COSTS[name])
    assert all(g is not None and bool(g.isfinite().all()) for g in grads)


@pytest.mark.parametrize("d", [3, 64])
@pytest.mark.parametrize("name", ["sqeuclidean", "euclidean", "cityblock"])
@pytest.mark.parametrize(("shift", "scale"), [(1e4, 1.0), (0.0, 1e-4), (0.0, 1e4)])
def test_an_offset_and_any_scale(shift: float, scale: float, name: str, d: int, device: torch.device) -> None:
    x, y = on(device, torch.float32, scale * cloud(40, d) + shift, scale * cloud(30, d, seed=2) + shift)
    cost = COSTS[name]
    size = cost.matrix(*high(x, y)).median()
    h = (numbers(30) * size).to(x)
    eps = (0.1 * size).to(x)
    wanted = reference.softmin(*high(x, y, h, eps), cost)
    close(kernels.softmin(x, y, h, eps, cost), wanted, tolerance(torch.float32, d))
    compare_gradients(x, y, h, None, eps, cost, 16 * tolerance(torch.float32, d))


@pytest.mark.parametrize("d", [3, 20])
@pytest.mark.parametrize("eps", [1e-6, 1e-3, 1e3, 1e6])
def test_extreme_temperatures(eps: float, d: int, device: torch.device) -> None:
    x, y, h = on(device, torch.float32, cloud(11, d), cloud(9, d, seed=2), numbers(9))
    strength = torch.tensor(eps, device=device)
    wanted = reference.softmin(*high(x, y, h, strength), costs.SqEuclidean())
    close(kernels.softmin(x, y, h, strength, costs.SqEuclidean()), wanted, 2e-6)


@pytest.mark.parametrize("d", [3, 20])
def test_gradients_where_all_is_far_in_units_of_the_temperature(d: int, device: torch.device) -> None:
    """The origin lies between the clouds: what pads a tile is nearer to both than they are to each other."""
    x, y = on(device, torch.float32, cloud(11, d) + 5, cloud(9, d, seed=2) - 5)
    h, eps = torch.zeros(9, device=device), torch.tensor(0.1, device=device)
    compare_gradients(x, y, h, None, eps, costs.SqEuclidean(), 3e-3)


def test_products_give_way_to_differences_where_they_are_coarse(device: torch.device) -> None:
    """In one batch, one element far below the rounding of |x|^2 and one far above it."""
    x = cloud(2, 9, 32)
    x[0] *= 100
    x, h = on(device, torch.float32, x, torch.zeros(2, 9))
    eps = torch.tensor([1e-3, 1.0], device=device)
    pair = triton_tiles.pair(x, x, triton_tiles.Form("squared"), product=True)
    assert pair.coarse(triton_tiles.LOG2E / eps).tolist() == [1, 0]
    # A cloud to itself costs nothing: here products alone would be wrong in the first digit.
    got = kernels.softmin(x, x, h, eps, costs.SqEuclidean())
    wanted = reference.softmin(*high(x, x, h, eps), costs.SqEuclidean()).to(got)
    torch.testing.assert_close(got[0], wanted[0], rtol=0, atol=1e-9)
    torch.testing.assert_close(got[1], wanted[1], rtol=1e-6, atol=1e-6)


def test_an_offset_does_not_make_products_coarse(device: torch.device) -> None:
    x, eps = (cloud(9, 32) + 1e4).to(device, torch.float32), torch.ones(1, device=device)
    pair = triton_tiles.pair(x, x, triton_tiles.Form("squared"), product=True)
    assert pair.coarse(triton_tiles.LOG2E / eps).tolist() == [0]


@pytest.mark.parametrize("d", [3, 20])
def test_the_cosine_of_vectors_nearly_parallel_and_of_none(d: int, device: torch.device) -> None:
    x, y = on(device, torch.float32, cloud(20, d) + 1000, cloud(15, d, seed=2) + 1000)
    h, cost = torch.zeros(15, device=device), costs.Cosine()
    eps = cost.matrix(*high(x, y)).median().to(x)
    wanted = reference.softmin(*high(x, y, h, eps), cost)
    close(kernels.softmin(x, y, h, eps, cost), wanted, 4e-6)
    x[3], y[4] = 0, 0
    wanted = reference.softmin(*high(x, y, h, eps), cost)
    close(kernels.softmin(x, y, h, eps, cost), wanted, 4e-6)
    compare_gradients(cloud(5, d).to(x), y, h, None, torch.tensor(EPS, device=device), cost, 4e-6)


def test_tf32_moves_points_by_their_last_bits_and_no_more(device: torch.device) -> None:
    x, y, h = on(device, torch.float32, cloud(40, 64), cloud(30, 64, seed=2), numbers(30))
    eps = torch.tensor(EPS, device=device)
    exact = reference.softmin(*high(x, y, h, eps), costs.SqEuclidean())
    got = kernels.softmin(x, y, h, eps, costs.SqEuclidean(), precision="tf32")
    error = (got.double().cpu() - exact).abs().max()
    assert 1e-6 < error < 2**-10 * 4 * 1.5**2


@pytest.mark.parametrize(
    ("points", "cost", "why"),
    [
        (torch.zeros(2, 3), costs.Custom(torch.cdist), "it does not know the cost custom"),
        (torch.zeros(2, 1025), costs.SqEuclidean(), "at most 1024 features and these points have 1025"),
        (torch.zeros(2, 3, dtype=torch.float16), costs.SqEuclidean(), "float32 or float64, not in torch.float16"),
        (torch.zeros(2, 3), costs.Power(costs.Custom(torch.cdist), 2.0), "it does not know the cost power"),
    ],
)
def test_what_it_cannot_do_is_said(points: Tensor, cost: costs.Cost, why: str, device: torch.device) -> None:
    assert why in str(kernels.why_unavailable(cost, points.to(device)))
    assert kernels.why_unavailable(costs.SqEuclidean(), torch.zeros(2, 3, device=device)) is None


def test_a_subclass_with_its_own_formula_is_not_taken_for_its_parent(device: torch.device) -> None:
    class Halved(costs.SqEuclidean):
        def matrix(self, x: Tensor, y: Tensor) -> Tensor:
            return 0.5 * super().matrix(x, y)

    assert kernels.why_unavailable(Halved(), torch.zeros(2, 3, device=device)) is not None
