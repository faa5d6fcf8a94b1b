"""Columns that rounding would lose are left out, and nothing else: ordered clouds against the reference in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from howfar import costs, ops
from howfar.geometry.spatial_order import spatial_order
from howfar.ops import compiled
from howfar.ops.soft_minimum import cpu as soft_minimum

N, M, EPS = 2100, 2300, 5e-4
SQUARED = costs.SqEuclidean()


def ordered_clouds(d: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(d)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)
    x, y = draw(N, d), draw(M, d)
    x, y = spatial_order(x).points(x), spatial_order(y).points(y)
    return x.to(dtype), y.to(dtype), (0.05 * torch.sin(5 * y).sum(-1)).to(dtype)


def as_it_is(_y: Tensor, _h: Tensor) -> None:
    pass


def without_mass(_y: Tensor, h: Tensor) -> None:
    h[: 2 * M // 3] = -torch.inf


def one_above_all_at_the_end(_y: Tensor, h: Tensor) -> None:
    h[-1] = 5.0


def outliers(_y: Tensor, h: Tensor) -> None:
    h[::50] += 0.3
    h[7::50] -= 1e3


def duplicates(y: Tensor, _h: Tensor) -> None:
    y[: M // 2] = y[0]


def a_point_at_infinity(y: Tensor, _h: Tensor) -> None:
    y[M // 2] = 1e5


Case = Callable[[Tensor, Tensor], None]
CASES = [as_it_is, without_mass, one_above_all_at_the_end, outliers, duplicates, a_point_at_infinity]


def prepared(case: Case, d: int, cost: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    x, y, h = ordered_clouds(d, dtype)
    case(y, h)
    return x, y, h, torch.cat([y, torch.cos(y).sum(-1, keepdim=True)], -1), EPS if cost == "sqeuclidean" else 0.01


@cache
def reference(case: Case, d: int, cost: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Soft minimum, averages of the values, and averages of their sizes."""
    x, y, h, v, eps = prepared(case, d, cost, dtype)
    x, y, h, v = (t.double() for t in (x, y, h, v))
    both = torch.cat([v, v.abs()], -1)
    soft, averages = ops.softmin_apply(x, y, h, both, eps=eps, cost=cost, backend="reference")
    return soft, averages[:, : v.shape[-1]], averages[:, v.shape[-1] :]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("d", "cost"), [(1, "sqeuclidean"), (2, "euclidean"), (3, "sqeuclidean")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.usefixtures("isa")
def test_what_is_left_out_is_below_rounding(case: Case, d: int, cost: str, dtype: torch.dtype) -> None:
    x, y, h, v, eps = prepared(case, d, cost, dtype)
    got, averages = ops.softmin_apply(x, y, h, v, eps=eps, cost=cost, backend="cpu")
    wanted, wanted_averages, sizes = reference(case, d, cost, dtype)
    unit = torch.finfo(dtype).eps
    size = h[h.isfinite()].abs().max().double() + wanted.abs()
    assert bool(((got.double() - wanted).abs() <= unit * 8 * (eps + size)).all())
    # A score is rounded in units of the temperature, and so is every weight.
    budget = unit * (16 + 4 * size / eps).unsqueeze(-1) * sizes
    assert bool(((averages.double() - wanted_averages).abs() <= budget).all())


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_far_columns_are_not_looked_at(dtype: torch.dtype) -> None:
    x, y, h = ordered_clouds(3, dtype)
    clouds = soft_minimum._arranged(x, y, torch.tensor(EPS), SQUARED, None)
    h.zero_()
    # Values of whole boxes of 64 columns that no row of the first group is near to are no numbers.
    low, high = x[:16].amin(0), x[:16].amax(0)
    v = torch.ones(M, 1, dtype=dtype)
    marked = 0
    for box, values in zip(y.split(64), v.split(64), strict=True):
        gap = torch.maximum(box.amin(0) - high, low - box.amax(0)).clamp_min(0).norm()
        if gap > 0.2:
            values[:] = torch.nan
            marked += 1
    averages = compiled.run("softmin", clouds, scale=torch.tensor(1 / EPS), h=h, v=v)[1]
    assert averages is not None
    assert marked >= 10
    torch.testing.assert_close(averages[:16], torch.ones(16, 1, dtype=dtype))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shown", ["all", "far"])
def test_sums_of_values_keep_their_digits(shown: str, dtype: torch.dtype) -> None:
    """Where only far columns have a value, what is small beside the mass of the near ones is all there is."""
    x, y, h = ordered_clouds(2, dtype)
    h.zero_()
    v = torch.stack([torch.ones_like(h), y[:, 0]], -1)
    if shown == "far":
        v[torch.cdist(x[:16], y).amin(0) < 0.1] = 0.0
    clouds = soft_minimum._arranged(x, y, torch.tensor(EPS), SQUARED, None)
    f = ops.softmin(x.double(), y.double(), h.double(), eps=EPS, backend="reference").to(dtype)
    got = compiled.run("gibbs", clouds, scale=torch.tensor(1 / EPS), f=f, h=h, v=v)[0][:16]
    gaps = (x[:16].double().unsqueeze(1) - y.double()).square().sum(-1)
    wanted = torch.exp((f[:16].double().unsqueeze(1) + h.double() - gaps) / EPS) @ v.double()
    allowed = torch.finfo(dtype).eps * (16 + 4 * (float(h.abs().max()) + gaps.max()) / EPS)
    seen = wanted > 1e-30
    assert seen.sum() > 8
    assert bool(((got.double() - wanted).abs() <= allowed * wanted)[seen].all())


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_displacements_keep_their_digits(dtype: torch.dtype) -> None:
    """Where only far columns differ in a feature, what is small beside the mass of the near ones is all there is."""
    x, y, h = ordered_clouds(2, dtype)
    h.zero_()
    x[:16, 0] = x[0, 0]
    y[torch.cdist(x[:16], y).amin(0) < 0.15, 0] = x[0, 0]
    slopes = []
    for backend, t in (("cpu", dtype), ("reference", torch.float64)):
        rows = x.to(t).requires_grad_()
        value = ops.softmin(rows, y.to(t), h.to(t), eps=EPS, backend=backend)
        slopes.append(torch.autograd.grad(value.sum(), rows)[0][:16, 0])
    got, wanted = slopes
    assert 0 < wanted.abs().min() < wanted.abs().max() < 1e-3
    # A score is rounded in units of the temperature, and so is every weight; displacements of either sign cancel.
    torch.testing.assert_close(got.double(), wanted, rtol=3e3 * torch.finfo(dtype).eps, atol=0)


def test_derivatives_agree_with_the_reference() -> None:
    grads = []
    for backend in ("cpu", "reference"):
        leaves = [t.requires_grad_() for t in ordered_clouds(3, torch.float64)]
        ops.softmin(*leaves, eps=EPS, backend=backend).cos().sum().backward()
        grads.append([t.grad for t in leaves])
    for got, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)


def test_a_batch_equals_its_problems() -> None:
    x, y, h = ordered_clouds(3, torch.float32)
    both = ops.softmin(torch.stack([x, x]), torch.stack([y, y.flip(0)]), torch.stack([h, h.flip(0)]), eps=EPS)
    alone = torch.stack([ops.softmin(x, y, h, eps=EPS), ops.softmin(x, y.flip(0), h.flip(0), eps=EPS)])
    assert torch.equal(both, alone)


@pytest.mark.parametrize("threads", [2, 30])
def test_threads_change_no_bit(threads: int) -> None:
    x, y, h = ordered_clouds(3, torch.float32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = ops.softmin_apply(x, y, h, y, eps=EPS)
        torch.set_num_threads(threads)
        together = ops.softmin_apply(x, y, h, y, eps=EPS)
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, alone, together))


def test_rows_without_columns_are_infinite() -> None:
    x, y, h = ordered_clouds(3, torch.float32)
    got = soft_minimum.softmin(x, y, torch.full_like(h, -torch.inf), torch.tensor(EPS), SQUARED)
    assert bool((got == math.inf).all())
