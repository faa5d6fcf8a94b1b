"""Several kernels in one pass, many columns of weights, and few rows over many columns, on every instruction set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from howfar import DomainError, _native, kernel_distances, kernels, ops

Array = np.ndarray[Any, np.dtype[np.float64]]
WIDTHS = (0.5, 0.5 * 2**0.5, 1.0, 2.0, 4.0)
MEMBERS: list[tuple[kernels.Kernel, Callable[[Array, Array], Array]]] = [
    *((kernels.Gaussian(s), lambda x, y, s=s: np.exp(-cdist(x, y, "sqeuclidean") / (2 * s * s))) for s in WIDTHS),
    (kernels.Laplacian(0.7), lambda x, y: np.exp(-cdist(x, y) / 0.7)),
    (kernels.Laplacian(0.9, "cityblock"), lambda x, y: np.exp(-cdist(x, y, "cityblock") / 0.9)),
    (kernels.Laplacian(3.0, "cityblock"), lambda x, y: np.exp(-cdist(x, y, "cityblock") / 3.0)),
    (kernels.Gaussian(0.3) + kernels.IMQ(2.0), lambda x, y: _gaussian_and_imq(cdist(x, y, "sqeuclidean"))),
    (kernels.Linear(), lambda x, y: x @ y.T),
    (kernels.Energy(1.3), lambda x, y: -(cdist(x, y) ** 1.3)),
]


def _gaussian_and_imq(squares: Array) -> Array:
    return np.exp(-squares / 0.18) + 1 / np.sqrt(1 + squares / 4)


@pytest.fixture(params=_native.instruction_sets() if _native.why_unavailable() is None else ())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after the other; the one of before again at the end."""
    bits = {name: bit for bit, name in _native._ISA_NAMES.items()}
    before = _native.instruction_set()
    assert _native.library().howfar_use(bits[str(request.param)])
    yield str(request.param)
    _native.library().howfar_use(bits[str(before)])


@pytest.fixture
def _threads_of_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def clouds(n: int, m: int, d: int, columns: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n + 7 * m + 31 * d)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    return (draw(n, d) / d**0.5).to(dtype), ((draw(m, d) + 0.5) / d**0.5).to(dtype), draw(m, columns).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("columns", [1, 8, 9, 50, 521])
def test_a_stack_and_a_sum_are_their_kernels(columns: int, dtype: torch.dtype, isa: str) -> None:
    assert isa
    stack, total = (kind([kernel for kernel, _ in MEMBERS]) for kind in (kernels.Stack, kernels.Sum))
    for n, m, d in [(1, 1, 1), (3, 260, 2), (101, 530, 3), (33, 257, 90)]:
        x, y, w = clouds(n, m, d, columns, dtype)
        left, right, weights = (t.double().numpy() for t in (x, y, w))
        exact = np.stack([oracle(left, right) @ weights for _, oracle in MEMBERS])
        size = max(float((oracle(left, right) @ abs(weights)).__abs__().max()) for _, oracle in MEMBERS)
        budget = 4 * (d**0.5 + 12) * torch.finfo(dtype).eps * size
        got = ops.kernel_sum(x, y, w, kernel=stack, backend="cpu")
        assert got.shape == (len(MEMBERS), n, columns)
        assert np.abs(got.double().numpy() - exact).max() <= budget
        got = ops.kernel_sum(x, y, w, kernel=total, backend="cpu")
        assert np.abs(got.double().numpy() - exact.sum(0)).max() <= len(MEMBERS) * budget


@pytest.mark.parametrize("columns", [1, 40])
@pytest.mark.parametrize(("d", "shift"), [(3, 0.0), (10, 0.0), (10, 1e4), (100, 0.0)])
def test_bandwidths_in_one_pass_are_as_near_to_float64_as_a_dense_program(d: int, shift: float, columns: int) -> None:
    """Four times the error of centred squares, an exponential and a matrix product for each bandwidth."""
    x, y, w = clouds(300, 400, d, columns, torch.float32)
    x, y, w = x + shift, y + shift, w.abs()
    widths = [0.1 * 2**k for k in range(6)]
    squares = cdist(x.double().numpy(), y.double().numpy(), "sqeuclidean")
    exact = torch.stack([torch.from_numpy(np.exp(-squares / (2 * s * s))) @ w.double() for s in widths])
    left, right = x - y.mean(0), y - y.mean(0)
    cost = (left.square().sum(-1, keepdim=True) + right.square().sum(-1) - 2 * left @ right.T).clamp_min(0)
    dense = torch.stack([torch.exp(cost / (-2 * s * s)) @ w for s in widths])
    gaussians = [kernels.Gaussian(s) for s in widths]
    got = ops.kernel_sum(x, y, w, kernel=kernels.Stack(gaussians), backend="cpu")
    one_ulp = torch.finfo(torch.float32).eps * exact.abs().amax((-2, -1))
    allowed = 4 * (dense.double() - exact).abs().amax((-2, -1)) + one_ulp
    assert bool(((got.double() - exact).abs().amax((-2, -1)) <= allowed).all())
    total = ops.kernel_sum(x, y, w, kernel=kernels.Sum(gaussians), backend="cpu")
    assert (total.double() - exact.sum(0)).abs().max() <= allowed.sum()


@pytest.mark.usefixtures("_threads_of_before")
def test_few_rows_over_many_columns_have_the_bits_of_any_other_call() -> None:
    """70 000 columns are three runs, shared by threads where rows are few and taken in turn where they are many."""
    x, y, w = clouds(200, 70_000, 3, 12, torch.float32)
    stack = kernels.Stack([kernels.Gaussian(0.5), kernels.IMQ(1.0)])

    def everything(rows: int) -> list[Tensor]:
        sums = [ops.kernel_sum(x[:rows], y, v, kernel=stack, backend="cpu") for v in (w[:, :2], w)]
        return [t[..., :3, :] for t in (*sums, *ops.nearest(x[:rows], y, w[:, 0], k=20, backend="cpu"))]

    torch.set_num_threads(1)
    expected = everything(200)
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        for rows in (3, 200):
            found = everything(rows)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), (
                f"{threads} threads, {rows} rows"
            )


@pytest.mark.parametrize("columns", [1, 3])
def test_the_derivative_of_a_stack_is_that_of_its_kernels(columns: int) -> None:
    x, y, w = (t.requires_grad_() for t in clouds(150, 120, 4, columns, torch.float64))
    members = [
        kernels.Gaussian(0.7),
        kernels.Gaussian(2.0),
        kernels.Gaussian(0.6) + kernels.Gaussian(1.2),
        kernels.Gaussian(0.4) + kernels.IMQ(1.0),
        kernels.Laplacian(1.5),
    ]
    direction = torch.linspace(-1, 2, 150, dtype=torch.float64).unsqueeze(-1)
    out = ops.kernel_sum(x, y, w, kernel=kernels.Stack(members), backend="cpu")
    got = torch.autograd.grad(sum((k + 1) * (out[k] * direction).sum() for k in range(len(members))), (x, y, w))
    each = [ops.kernel_sum(x, y, w, kernel=k, backend="reference") for k in members]
    exact = torch.autograd.grad(sum((k + 1) * (t * direction).sum() for k, t in enumerate(each)), (x, y, w))
    for a, b in zip(got, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_a_stack_of_a_batch_with_bandwidths_of_its_own() -> None:
    generator = torch.Generator().manual_seed(3)
    x, y, w = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in [(3, 9, 2), (3, 50, 2), (3, 50, 11)])
    widths = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    stack = kernels.Stack(
        [kernels.Gaussian(widths), kernels.Gaussian(1.5), kernels.Laplacian(widths) + kernels.Energy()]
    )
    got = ops.kernel_sum(x, y, w, kernel=stack, backend="cpu")
    assert got.shape == (3, 3, 9, 11)
    for b, s in enumerate(widths.tolist()):
        squares, distances = cdist(x[b], y[b], "sqeuclidean"), cdist(x[b], y[b])
        parts = [np.exp(-squares / (2 * s * s)), np.exp(-squares / 4.5), np.exp(-distances / s) - distances]
        np.testing.assert_allclose(got[b], np.stack(parts) @ w[b].numpy(), rtol=1e-12, atol=1e-12)


def test_what_wants_one_kernel_takes_no_stack() -> None:
    stack: Any = kernels.Stack([kernels.Gaussian(1.0)])
    with pytest.raises(DomainError, match=r"a name or an object of howfar\.kernels"):
        kernel_distances.mmd2(torch.rand(4, 2), torch.rand(4, 2), kernel=stack)


def test_many_columns_take_no_matrix_of_all_pairs(peak_growth: Callable[[str, str], float]) -> None:
    preparation = """
import torch
from howfar import kernels, ops
x, w = torch.rand(8_000, 3), torch.rand(8_000, 40)
stack = kernels.Stack([kernels.Gaussian(.1), kernels.Gaussian(.2)])
ops.kernel_sum(x[:500], x[:500], w[:500], kernel=stack, backend="cpu")
"""
    grown = peak_growth(preparation, "ops.kernel_sum(x, x, w, kernel=stack, backend='cpu')")
    assert grown < 60, "MiB: all pairs are 256 MB"


@pytest.mark.parametrize("k", [1, 2, 16, 33, 64, 65, 128])
@pytest.mark.parametrize("order", ["falling", "rising", "equal", "nearly all taken out"])
@pytest.mark.parametrize("d", [1, 20])
def test_nearest_of_columns_in_the_worst_order(order: str, k: int, d: int, isa: str) -> None:
    assert isa
    generator = torch.Generator().manual_seed(k)
    x, y = torch.randn(40, d, generator=generator) * 0.01, torch.randn(3000, d, generator=generator)
    h = None
    if order in ("falling", "rising"):
        y = y[y.square().sum(-1).argsort(descending=order == "falling")]
    elif order == "equal":
        y = y[:1].expand(3000, d).contiguous()
    else:
        h = torch.full((3000,), -torch.inf).index_fill(0, torch.arange(5, 3000, 97), 0.25)
    points = (x.double().unsqueeze(1) - y.double()).square().sum(-1) - (0 if h is None else h.double())
    values, indices = torch.sort(points, dim=-1, stable=True)
    got, found = ops.nearest(x, y, h, k=k, backend="cpu")
    assert torch.equal(found, indices[:, :k])
    torch.testing.assert_close(got.double(), values[:, :k], rtol=1e-6, atol=1e-6)
