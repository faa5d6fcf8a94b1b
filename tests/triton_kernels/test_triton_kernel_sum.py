"""The kernel sum of the GPU against the reference in float64: every kernel and cost, values and gradients."""

from __future__ import annotations

import sys

import pytest
import torch
from kernel_cases import COSTS, KERNELS, close, cloud, numbers, tolerance

if sys.platform != "linux":
    pytest.skip("triton is built for Linux only", allow_module_level=True)

from howfar import costs, kernels
from howfar.ops.kernel_summation import reference
from howfar.ops.kernel_summation import triton as ours

DTYPES = [torch.float32, torch.float64]
SUMMANDS = {**COSTS, **KERNELS}


def compare(
    shape: tuple[int, ...],
    m: int,
    columns: int,
    kernel: kernels.Kernel | costs.Cost,
    dtype: torch.dtype,
    device: torch.device,
    *,
    rel: float,
    shift: float = 0.0,
) -> None:
    """Values and gradients for x of a shape, m points y and B columns of weights."""
    *batch, n, d = shape
    x, y, w = cloud(*shape) + shift, cloud(*batch, m, d, seed=2) + shift, numbers(*batch, m, columns)
    x, y, w = (t.to(device, dtype) for t in (x, y, w))
    inputs = [t.double().cpu().requires_grad_() for t in (x, y, w)]
    out = reference.kernel_sum(*inputs, kernel)
    close(ours.kernel_sum(x, y, w, kernel), out.detach(), rel)
    grad = numbers(*batch, n, columns, seed=5)
    wanted = torch.autograd.grad(out, inputs, grad)
    got = ours.gradient((True,) * 3, grad.to(x), (x, y, w), kernel)
    for g, exact in zip(got, wanted, strict=True):
        assert g is not None
        assert g.dtype == dtype
        close(g, exact, 4 * rel)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SUMMANDS)
def test_every_kernel_and_cost(name: str, dtype: torch.dtype, device: torch.device) -> None:
    compare((20, 3), 70, 2, SUMMANDS[name], dtype, device, rel=8 * tolerance(dtype, 3))


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("d", [3, 20])
def test_many_tiles(d: int, device: torch.device) -> None:
    compare((130, d), 150, 1, kernels.Gaussian(1.0), torch.float32, device, rel=4 * tolerance(torch.float32, d))


@pytest.mark.parametrize("name", ["gaussian", "imq", "rational quadratic", "polynomial", "linear", "five bandwidths"])
def test_products_of_points(name: str, device: torch.device) -> None:
    for d in (17, 130):
        compare((5, d), 66, 1, KERNELS[name], torch.float32, device, rel=4 * tolerance(torch.float32, d))


def test_kernels_without_products_in_many_features(device: torch.device) -> None:
    compare((5, 20), 6, 1, KERNELS["sum"] + KERNELS["energy"], torch.float32, device, rel=2e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 3, 4, 5, 17, 130])
def test_columns_of_weights(columns: int, dtype: torch.dtype, device: torch.device) -> None:
    compare((5, 2), 66, columns, kernels.Gaussian(1.0), dtype, device, rel=2 * tolerance(dtype, 2))


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 64), (128, 1), (127, 65), (129, 63)])
def test_ragged_ends(n: int, m: int, device: torch.device) -> None:
    compare((n, 2), m, 1, kernels.Laplacian(1.0), torch.float64, device, rel=1e-13)
    compare((n, 20), m, 5, kernels.IMQ(1.0), torch.float32, device, rel=2 * tolerance(torch.float32, 20))


@pytest.mark.parametrize("d", [2, 20])
def test_batches_with_a_bandwidth_each(d: int, device: torch.device) -> None:
    s = torch.tensor([[0.5, 1.0, 2.0], [3.0, 0.7, 1.5]])
    for kernel in (kernels.Gaussian(s), kernels.Laplacian(s), kernels.IMQ(s) + kernels.IMQ(1.0)):
        compare((2, 3, 7, d), 11, 2, kernel, torch.float32, device, rel=2 * tolerance(torch.float32, d))


@pytest.mark.parametrize("d", [3, 20])
@pytest.mark.parametrize("name", ["gaussian", "laplacian", "laplacian cityblock", "imq", "energy", "sqeuclidean"])
def test_an_offset(name: str, d: int, device: torch.device) -> None:
    compare((40, d), 30, 1, SUMMANDS[name], torch.float32, device, rel=2 * tolerance(torch.float32, d), shift=1e4)


def test_a_narrow_kernel_in_many_features(device: torch.device) -> None:
    """Products of points are too coarse for it: a point is at distance 0 from itself, and every digit of it counts."""
    x = (100 * cloud(9, 32)).to(device, torch.float32)
    out = ours.kernel_sum(x, x, torch.ones(9, 1, device=device), kernels.Gaussian(1e-3))
    assert out.flatten().tolist() == [1.0] * 9


def test_no_product_is_rounded_to_a_distance_below_zero(device: torch.device) -> None:
    x = (5 * cloud(64, 40)).to(device, torch.float32)
    itself = torch.eye(64, device=device)
    assert ours.kernel_sum(x, x, itself, kernels.Gaussian(0.5)).max() <= 1


@pytest.mark.parametrize("name", SUMMANDS)
def test_coincident_points_have_finite_gradients(name: str, device: torch.device) -> None:
    x = cloud(6, 3).to(device, torch.float32)
    x[5] = 0
    ones = torch.ones(6, 1, device=device)
    grads = ours.gradient((True,) * 3, ones, (x, x, ones), SUMMANDS[name])
    assert all(g is not None and bool(g.isfinite().all()) for g in grads)


def test_gradients_that_are_not_wanted(device: torch.device) -> None:
    x, y, w = (t.to(device) for t in (cloud(5, 3), cloud(6, 3, seed=2), numbers(6, 2)))
    seed = numbers(5, 2).to(device)
    kernel = KERNELS["sum"]
    everything = ours.gradient((True,) * 3, seed, (x, y, w), kernel)
    for i in range(3):
        wanted = (i == 0, i == 1, i == 2)
        grads = ours.gradient(wanted, seed, (x, y, w), kernel)
        assert [g is not None for g in grads] == list(wanted)
        torch.testing.assert_close(grads[i], everything[i], rtol=0, atol=0)


def test_what_it_cannot_do_is_said(device: torch.device) -> None:
    class Strange(kernels.Gaussian):
        name = "strange"

    x = torch.zeros(2, 3, device=device)
    assert "the cost custom" in str(ours.why_unavailable(costs.Custom(torch.cdist), x))
    assert "the kernel strange" in str(ours.why_unavailable(kernels.Linear() + Strange(), x))
    assert all(ours.why_unavailable(summand, x) is None for summand in SUMMANDS.values())
