"""Every kernel on every instruction set of this machine against the reference in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from howfar import costs, kernels, ops
from howfar.ops import compiled
from howfar.ops.soft_minimum import cpu as soft_minimum

COSTS: dict[str, costs.Cost] = {
    "sqeuclidean": costs.SqEuclidean(),
    "euclidean": costs.Euclidean(),
    "cityblock": costs.CityBlock(),
    "minkowski 1.5": costs.Minkowski(1.5),
    "minkowski 4": costs.Minkowski(4),
    "minkowski 8": costs.Minkowski(8),
    "cosine": costs.Cosine(),
    "euclidean ** 3": costs.Power(costs.Euclidean(), 3),
    "euclidean ** 1.3": costs.Power(costs.Euclidean(), 1.3),
    "cityblock ** 1.5": costs.Power(costs.CityBlock(), 1.5),
}
KERNELS: dict[str, kernels.Kernel] = {
    "gaussian": kernels.Gaussian(1.3),
    "laplacian": kernels.Laplacian(1.3),
    "laplacian cityblock": kernels.Laplacian(1.3, "cityblock"),
    "imq": kernels.IMQ(1.3),
    "rational quadratic": kernels.RationalQuadratic(1.3, alpha=0.7),
    "energy": kernels.Energy(),
    "energy 1.3": kernels.Energy(1.3),
    "energy 2": kernels.Energy(2),
    "polynomial": kernels.Polynomial(degree=3, coef=0.5),
    "linear": kernels.Linear(),
    "sum": kernels.Gaussian(0.5) + kernels.Gaussian(2.0) + kernels.Laplacian(1.0, "cityblock") + kernels.Linear(),
}
SIZES = [(1, 1), (7, 97), (96, 7), (97, 96), (130, 517), (3, 4500)]
FEATURES = [1, 2, 3, 4, 16, 17, 64, 300, 1100]


def clouds(n: int, m: int, d: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n + 7 * m + 31 * d)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    return (draw(n, d) / d**0.5).to(dtype), ((draw(m, d) + 0.5) / d**0.5).to(dtype), draw(m).to(dtype)


def wide(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(t.double() for t in tensors)


def close(got: Tensor, wanted: Tensor, rel: float) -> None:
    assert got.shape == wanted.shape
    assert bool(torch.isfinite(got).all())
    error = (got.double() - wanted).abs().max() / wanted.abs().max().clamp_min(1e-300)
    assert error <= rel, f"{error:.2g} of the largest"


def budget(dtype: torch.dtype, d: int) -> float:
    """The rounding of a sum of d terms, and of a dozen steps around it."""
    return (d**0.5 + 12) * torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", COSTS)
def test_softmin_of_every_size(name: str, dtype: torch.dtype, isa: str) -> None:
    assert isa
    cost = COSTS[name]
    cases = [(*size, 3) for size in SIZES] + [(13, 70, d) for d in FEATURES]
    for n, m, d in cases:
        x, y, h = clouds(n, m, d, dtype)
        if m > 5:
            h[3] = -math.inf
        exact, averages = ops.softmin_apply(*wide(x, y, h, y), eps=0.5, cost=cost, backend="reference")
        rel = budget(dtype, d) * (4 if "** 1.3" in name or "minkowski" in name else 1)
        close(ops.softmin(x, y, h, eps=0.5, cost=cost, backend="cpu"), exact, rel)
        value, got = ops.softmin_apply(x, y, h, y, eps=0.5, cost=cost, backend="cpu")
        close(value, exact, rel)
        # A weight is off by the rounding of its score.
        close(got, averages, rel * (8 + float(exact.abs().max()) / 0.5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["product", "difference"])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 0.75])
def test_every_form_and_exponent(form: str, exponent: float, dtype: torch.dtype, isa: str) -> None:
    assert isa
    for n, m, d in [(1, 1, 1), (97, 130, 3), (33, 517, 40)]:
        x, y, h = clouds(n, m, d, dtype)
        cloud = compiled.Clouds(x, y, form, exponent, 2.0, 1.0, 1.0, True)
        cost = costs.Power(costs.Euclidean(), 2 * exponent)
        one = torch.ones((), dtype=torch.float64)
        got, averages = compiled.run("softmin", cloud, scale=one, h=h, v=y)
        exact, wanted = ops.softmin_apply(*wide(x, y, h, y), eps=1.0, cost=cost, backend="reference")
        # The root of a cancelled square keeps half of its digits.
        rel = budget(dtype, d) * (1 if form == "difference" or exponent == 1 else 20)
        close(got, exact, rel)
        assert averages is not None
        close(averages, wanted, 8 * rel)
        weights = torch.exp(h.double() + exact.unsqueeze(-1) - cost.matrix(*wide(x, y)))
        sums, _ = compiled.run("gibbs", cloud, scale=one, h=h, f=exact.to(dtype), v=y)
        close(sums, weights @ y.double(), 16 * rel)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("columns", [1, 5, 8, 9, 70])
def test_kernel_sums(name: str, columns: int, dtype: torch.dtype, isa: str) -> None:
    assert isa
    kernel = KERNELS[name]
    for n, m, d in [(1, 1, 1), (97, 130, 3), (33, 517, 40)] + [(13, 70, d) for d in FEATURES if columns == 1]:
        x, y, _ = clouds(n, m, d, dtype)
        w = torch.randn(m, columns, generator=torch.Generator().manual_seed(m), dtype=torch.float64).to(dtype)
        exact = ops.kernel_sum(*wide(x, y, w), kernel=kernel, backend="reference")
        size = ops.kernel_sum(*wide(x, y, w.abs()), kernel=kernel, backend="reference").abs().max()
        got = ops.kernel_sum(x, y, w, kernel=kernel, backend="cpu")
        assert (got.double() - exact).abs().max() <= 4 * budget(dtype, d) * size


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", COSTS)
def test_nearest_has_the_indices_of_float64(name: str, dtype: torch.dtype, isa: str) -> None:
    assert isa
    cost = COSTS[name]
    for n, m, d in [(1, 1, 1), (97, 130, 3), (33, 517, 40), (10, 2000, 100)]:
        x, y, h = clouds(n, m, d, dtype)
        for potential in (None, h):
            for k in sorted({1, min(m, 5), min(m, 128)}):
                inputs = wide(x, y) if potential is None else wide(x, y, potential)
                exact, wanted = ops.nearest(*inputs, k=k, cost=cost, backend="reference")
                got, indices = ops.nearest(x, y, potential, k=k, cost=cost, backend="cpu")
                close(got, exact, 16 * torch.finfo(dtype).eps if "minkowski" not in name else 1e-6)
                same = (indices == wanted) | (
                    (exact.diff(dim=-1).abs().amin(-1, keepdim=True) < 1e-12) if k > 1 else False
                )
                assert bool(same.all())


def test_ties_go_to_the_smaller_index_and_places_left_to_points_taken_out(isa: str) -> None:
    assert isa
    y = torch.tensor([[1.0], [0.0], [1.0], [0.0], [1.0]] * 40)
    values, indices = ops.nearest(torch.zeros(3, 1), y, k=100, backend="cpu")
    expected = torch.sort(y[:, 0], stable=True)
    assert torch.equal(indices, expected.indices[:100].expand(3, 100))
    assert torch.equal(values, expected.values[:100].expand(3, 100))
    h = torch.full((200,), -torch.inf).index_fill(0, torch.tensor([7, 5]), 0.0)
    values, indices = ops.nearest(torch.zeros(1, 1), y, h, k=4, backend="cpu")
    assert indices.tolist() == [[5, 7, 0, 1]] if y[5] <= y[7] else [[7, 5, 0, 1]]
    assert values[0, 2:].tolist() == [torch.inf] * 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_that_share_a_side(dtype: torch.dtype, isa: str) -> None:
    assert isa
    generator = torch.Generator().manual_seed(0)
    x, y, h = (
        torch.randn(*s, generator=generator, dtype=torch.float64).to(dtype) for s in [(2, 3, 9, 4), (70, 4), (3, 70)]
    )
    eps = torch.tensor([[0.3], [1.0]], dtype=torch.float64).expand(2, 3)
    exact = ops.softmin(*wide(x, y, h), eps=eps, backend="reference")
    close(ops.softmin(x, y, h, eps=eps, backend="cpu"), exact, budget(dtype, 4))
    close(ops.softmin(x, y, h[0], eps=0.5, backend="cpu"), ops.softmin(*wide(x, y, h[0]), eps=0.5), budget(dtype, 4))
    kernel = kernels.Gaussian(torch.tensor([[0.5, 1.0, 2.0]], dtype=torch.float64).expand(2, 3))
    exact = ops.kernel_sum(*wide(x, y, h), kernel=kernel, backend="reference")
    close(ops.kernel_sum(x, y, h, kernel=kernel, backend="cpu"), exact, 4 * budget(dtype, 4))
    wanted = ops.nearest(*wide(x, y, h), k=3, backend="reference")[1]
    assert torch.equal(ops.nearest(x, y, h, k=3, backend="cpu")[1], wanted)


def test_a_row_without_any_point_is_infinitely_far(isa: str) -> None:
    assert isa
    x, y, _ = clouds(5, 70, 3, torch.float32)
    h, eps = torch.full((70,), -torch.inf), torch.tensor(0.5)
    for cost in (costs.SqEuclidean(), costs.Euclidean()):
        assert soft_minimum.softmin(x, y, h, eps, cost).tolist() == [torch.inf] * 5
        assert soft_minimum.softmin_apply(x, y, h, y, eps, cost).tolist() == [[torch.inf, 0, 0, 0]] * 5


def test_parts_of_the_columns_may_differ_by_more_than_an_exponent_holds(isa: str) -> None:
    """Few rows over many columns: the nearest are those of the last part, at a temperature where others are nothing."""
    assert isa
    x, y, h = clouds(2, 140_003, 3, torch.float32)
    y[:-5] += 3
    exact, averages = ops.softmin_apply(*wide(x, y, h, y), eps=1e-3, backend="reference")
    value, got = ops.softmin_apply(x, y, h, y, eps=1e-3, backend="cpu")
    close(value, exact, budget(torch.float32, 3))
    close(got, averages, 1e-3)


@pytest.mark.parametrize("d", [3, 20])
def test_problems_that_share_their_columns_but_not_their_temperature(d: int, isa: str) -> None:
    """Columns are packed once for a batch only where they are scaled by one temperature."""
    assert isa
    x, y, h = clouds(400, 300, d, torch.float32)
    x = x.reshape(2, 200, d) + torch.tensor([0.0, 0.5]).reshape(2, 1, 1)
    for eps in (torch.tensor([0.5, 2.0]), torch.tensor([0.5, 0.5])):
        found = []
        for t, backend in ((torch.float32, "cpu"), (torch.float64, "reference")):
            leaves = [p.to(t).requires_grad_() for p in (x, y, h)]
            value = ops.softmin(*leaves, eps=eps.to(t), backend=backend)
            found.append([value.detach(), *torch.autograd.grad(value.square().sum(), leaves)])
        for got, wanted in zip(*found, strict=True):
            close(got, wanted, 2e-5)


def test_a_point_without_mass_has_no_say(isa: str) -> None:
    """Exactly: the same bits as without it, wherever in a panel it stood."""
    assert isa
    x, y, h = clouds(9, 64, 3, torch.float32)
    far = torch.cat([y, torch.full((70, 3), 1e6)])
    without = torch.cat([h, torch.full((70,), -torch.inf)])
    assert torch.equal(
        ops.softmin(x, far, without, eps=0.5, backend="cpu"), ops.softmin(x, y, h, eps=0.5, backend="cpu")
    )


@pytest.mark.parametrize("eps", [1e-6, 1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("d", [3, 20, 100])
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1e4, 1.0), (0.0, 1e-4), (0.0, 1e4)])
def test_float32_is_as_near_to_float64_as_a_dense_program(eps: float, d: int, shift: float, scale: float) -> None:
    """Four times the error of centred squares and a matrix product, for any temperature, offset and scale."""
    x, y, h = clouds(200, 300, d, torch.float64)
    x, y = ((scale * t + shift).float() for t in (x, y))
    exact_cost = costs.SqEuclidean().matrix(*wide(x, y))
    mean = float(exact_cost.mean())
    h = (0.1 * mean * h).float()
    temperature = eps * mean
    s = (h.double() - exact_cost) / temperature
    exact = -temperature * torch.logsumexp(s, -1)
    centre = y.mean(0)
    left, right = x - centre, y - centre
    dense_cost = left.square().sum(-1, keepdim=True) + right.square().sum(-1) - 2 * left @ right.T
    dense = -temperature * torch.logsumexp((h - dense_cost) / temperature, -1)
    got = ops.softmin(x, y, h, eps=temperature, backend="cpu")
    assert bool(torch.isfinite(got).all())
    error, allowed = ((t.double() - exact).abs().max() for t in (got, dense))
    assert error <= 4 * allowed + torch.finfo(torch.float32).eps * exact.abs().max()


def balanced(cost: Tensor, temperature: float) -> Tensor:
    """g + eps log b of a plan between uniform weights, after some iterations from a higher temperature down."""
    n, m = cost.shape
    h, eps = cost.new_zeros(m), float(cost.mean())
    for _ in range(60):
        eps = max(eps / 1.5, temperature)
        f = -eps * (torch.logsumexp((h - cost) / eps, -1) + math.log(n))
        h = -eps * (torch.logsumexp((f.unsqueeze(-1) - cost) / eps, 0) + math.log(m))
    return h


@pytest.mark.parametrize("eps", [1e-4, 1e-3, 1e-2, 1.0])
@pytest.mark.parametrize("d", [3, 20, 64, 100])
@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1e4, 1.0), (0.0, 1e-4)])
def test_float32_derivatives_are_as_near_to_float64_as_those_of_a_dense_program(
    eps: float, d: int, shift: float, scale: float, isa: str
) -> None:
    """Also at temperatures whose scores float32 rounds coarsely, and with mass everywhere."""
    assert isa
    x, y, _ = clouds(200, 300, d, torch.float64)
    x, y = ((scale * t + shift).float() for t in (x, y))
    exact_cost = costs.SqEuclidean().matrix(*wide(x, y))
    temperature = eps * float(exact_cost.mean())
    h = balanced(exact_cost, temperature).float()
    direction = torch.linspace(-1, 2, 200)

    def dense(x: Tensor, y: Tensor, h: Tensor) -> Tensor:
        centre = y.detach().mean(0)
        left, right = x - centre, y - centre
        cost = left.square().sum(-1, keepdim=True) + right.square().sum(-1) - 2 * left @ right.T
        return -temperature * torch.logsumexp((h - cost) / temperature, -1)

    def derivatives(value: Callable[..., Tensor], *leaves: Tensor) -> tuple[Tensor, ...]:
        leaves = tuple(t.clone().requires_grad_() for t in leaves)
        return torch.autograd.grad(value(*leaves), leaves, direction.to(leaves[0].dtype))

    ours = lambda backend: lambda *t: ops.softmin(*t, eps=temperature, backend=backend)
    exact = derivatives(ours("reference"), *wide(x, y, h))
    for got, theirs, e in zip(derivatives(ours("cpu"), x, y, h), derivatives(dense, x, y, h), exact, strict=True):
        assert got.dtype == torch.float32
        error, allowed = ((t.double() - e).abs().max() for t in (got, theirs))
        assert error <= 4 * allowed + torch.finfo(torch.float32).eps * e.abs().max()


@pytest.mark.parametrize("d", [3, 20, 64, 100])
@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_where_a_row_has_all_its_mass_at_one_column_the_derivative_is_one(d: int, shift: float, isa: str) -> None:
    """However coarsely the score was rounded: the derivative meets the same rounding."""
    assert isa
    x = 3 * clouds(150, 1, d, torch.float64)[0]
    # Moved as a whole: the plan stays the identity with these potentials, and every score is a difference of large ones.
    move = torch.linspace(1, 2, d, dtype=torch.float64) * 5 / d**0.5
    leaves = (x + move + shift).float().requires_grad_(), (2 * x @ move).float().requires_grad_()
    x = (x + shift).float()
    for eps, backend, dtype in (
        (1e-5, "reference", torch.float64),
        (1e-5, "cpu", torch.float32),
        (1e-10, "cpu", torch.float32),
    ):
        value = ops.softmin(x.to(dtype), *(t.to(dtype) for t in leaves), eps=eps, backend=backend)
        by_y, by_h = torch.autograd.grad(value.sum(), leaves)
        torch.testing.assert_close(by_y.double(), 2 * (leaves[0].double() - x.double()), rtol=3e-7, atol=1e-6)
        assert (by_h + 1).abs().max() <= 2e-7


GRADIENTS = {
    **{
        f"softmin {name}": COSTS[name] for name in ("sqeuclidean", "euclidean", "euclidean ** 3", "cityblock", "cosine")
    },
    **{f"sum {name}": summand for name, summand in (*KERNELS.items(), ("sqeuclidean", COSTS["sqeuclidean"]))},
}


SHIFTED = [(name, 0.0) for name in GRADIENTS]
# An offset is part of an inner product, so only what depends on differences is tried with one.
SHIFTED += [(n, 1e4) for n, s in GRADIENTS.items() if s.name not in ("polynomial", "linear", "sum", "cosine")]


@pytest.mark.parametrize(("name", "shift"), SHIFTED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [3, 20])
def test_first_derivatives(name: str, dtype: torch.dtype, d: int, shift: float) -> None:
    summand: Any = GRADIENTS[name]
    x, y, h = clouds(120, 150, d, torch.float64)
    low = [t.clone().requires_grad_() for t in ((x + shift).to(dtype), (y + shift).to(dtype), h.to(dtype))]
    high = [t.detach().double().requires_grad_() for t in low]
    found = []
    for inputs, backend in ((low, "cpu"), (high, "reference")):
        if name.startswith("softmin"):
            out = ops.softmin(*inputs, eps=0.4, cost=summand, backend=backend)
        else:
            out = ops.kernel_sum(*inputs, kernel=summand, backend=backend)
        direction = torch.linspace(-1, 2, 120, dtype=out.dtype)
        found.append(torch.autograd.grad((out * direction).sum(), inputs))
    for got, exact in zip(*found, strict=True):
        assert got.dtype == dtype
        close(got, exact, 4e-6 if dtype == torch.float32 else 1e-10)
