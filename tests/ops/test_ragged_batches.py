"""A ragged batch of an op is the loop over its problems: values, derivatives, indices; and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from howfar import _native, costs, kernels, ops
from howfar._errors import DomainError, HowfarError, ShapeError
from howfar.ops import compiled

SIZES = [(1, 1), (200, 3), (7, 130), (64, 64), (1, 150), (33, 1)]


def offsets() -> tuple[Tensor, Tensor]:
    return tuple(torch.tensor([0, *side]).cumsum(0) for side in zip(*SIZES, strict=True))  # type: ignore[return-value]


def problems(dtype: torch.dtype, d: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(d)
    rows, columns = offsets()
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    x, y, h = draw(int(rows[-1]), d), draw(int(columns[-1]), d) + 0.5, draw(int(columns[-1]))
    h[20] = -torch.inf
    return x.to(dtype), y.to(dtype), h.to(dtype)


def looped(one: Callable[..., Tensor], x: Tensor, *others: Tensor) -> Tensor:
    rows, columns = offsets()
    parts = []
    for b in range(len(SIZES)):
        of_y = slice(int(columns[b]), int(columns[b + 1]))
        parts.append(one(b, x[int(rows[b]) : int(rows[b + 1])], *(t[of_y] for t in others)))
    return torch.cat(parts)


def agree(ragged: Callable[..., Tensor], one: Callable[..., Tensor], inputs: tuple[Tensor, ...], rel: float) -> None:
    """Value, first and second derivative."""
    found = []
    for run in (ragged, lambda *t: looped(one, *t)):
        leaves = [t.clone().requires_grad_() for t in inputs]
        out = run(*leaves)
        direction = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).reshape(out.shape)
        plain = torch.autograd.grad((out * direction).sum(), leaves, retain_graph=True)
        kept = torch.autograd.grad((out.square() * direction).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in kept), leaves)
        found.append([out.detach(), *plain, *second])
    for got, wanted in zip(*found, strict=True):
        assert bool(torch.isfinite(got).all())
        assert (got - wanted).abs().max() <= rel * wanted.abs().max().clamp_min(1e-30)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("cost", [costs.SqEuclidean(), costs.Euclidean(), costs.CityBlock(), costs.Cosine()])
@pytest.mark.parametrize("d", [3, 20])
def test_softmin(cost: costs.Cost, d: int, backend: str) -> None:
    eps = torch.linspace(0.3, 1.0, len(SIZES), dtype=torch.float64)
    ragged = lambda x, y, h: ops.softmin(x, y, h, eps=eps, cost=cost, offsets=offsets(), backend=backend)
    one = lambda b, x, y, h: ops.softmin(x, y, h, eps=eps[b], cost=cost, backend="reference")
    agree(ragged, one, problems(torch.float64, d), 1e-9)


SUMMANDS: dict[str, kernels.Kernel | costs.Cost] = {
    "gaussian": kernels.Gaussian(0.7),
    "laplacian": kernels.Laplacian(0.9, "cityblock"),
    "imq": kernels.IMQ(1.3),
    "linear": kernels.Linear(),
    "polynomial": kernels.Polynomial(3, 0.5, 1.0),
    "sum": kernels.Gaussian(0.7) + kernels.Gaussian(2.0) + kernels.Energy() + kernels.Linear(),
    "cosine": costs.Cosine(),
    "minkowski": costs.Minkowski(3.0),
}


@pytest.mark.parametrize("columns", [None, 2, 40])
@pytest.mark.parametrize("name", SUMMANDS)
def test_kernel_sum(name: str, columns: int | None) -> None:
    x, y, h = problems(torch.float64, 3)
    w = h.nan_to_num(neginf=0.0)
    w = w if columns is None else torch.stack([(k * w).cos() for k in range(columns)], -1)
    kernel = SUMMANDS[name]
    ragged = lambda x, y, w: ops.kernel_sum(x, y, w, kernel=kernel, offsets=offsets())
    agree(ragged, lambda _, x, y, w: ops.kernel_sum(x, y, w, kernel=kernel, backend="reference"), (x, y, w), 1e-9)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nearest(dtype: torch.dtype, backend: str) -> None:
    x, y, h = problems(dtype, 3)
    values, indices = ops.nearest(x, y, h, offsets=offsets(), backend=backend)
    wanted = looped(lambda _, x, y, h: ops.nearest(x, y, h, backend="reference")[0], x, y, h)
    torch.testing.assert_close(values, wanted)
    at = costs.SqEuclidean().matrix(x.unsqueeze(-2), y[indices]).squeeze(-2) - h[indices]
    torch.testing.assert_close(values, at)
    leaf = x.clone().requires_grad_()
    ops.nearest(leaf, y, h, offsets=offsets(), backend=backend)[0].sum().backward()
    torch.testing.assert_close(leaf.grad, 2 * (x - y[indices[:, 0]]))


def test_float32_and_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, h = problems(torch.float32, 3)
    eps = torch.linspace(0.3, 1.0, len(SIZES))
    one = lambda b, x, y, h: ops.softmin(x, y, h, eps=eps[b].double(), backend="reference")
    got = ops.softmin(x, y, h, eps=eps, offsets=offsets())
    torch.testing.assert_close(got.double(), looped(one, x.double(), y.double(), h.double()), rtol=1e-5, atol=1e-6)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(ops.softmin(x, y, h, eps=eps, offsets=offsets()), got)
    finally:
        torch.set_num_threads(before)
    # As if each problem took longer than a call may.
    monkeypatch.setattr(compiled, "_SECONDS", 1e-9)
    assert torch.equal(ops.softmin(x, y, h, eps=eps, offsets=offsets()), got)


@pytest.mark.skipif(_native.why_no_kernels() is not None, reason="needs the compiled kernels")
def test_kernel_sums_of_all_problems_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, h = problems(torch.float32, 3)
    w, kernel = h.nan_to_num(neginf=0.0).cos(), kernels.Gaussian(0.7) + kernels.Gaussian(2.0)
    monkeypatch.setattr(ops.kernel_summation.op, "kernel_sum", None)
    got = ops.kernel_sum(x, y, w, kernel=kernel, offsets=offsets())
    one = lambda _, x, y, w: (kernel.matrix(x, y) @ w.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(got.double(), looped(one, x.double(), y.double(), w.double()), rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(compiled, "_SECONDS", 1e-9)
    assert torch.equal(ops.kernel_sum(x, y, w, kernel=kernel, offsets=offsets()), got)


WRONG: dict[str, tuple[Any, type[HowfarError], str]] = {
    "not a pair": (torch.tensor([0, 5]), ShapeError, "offsets: expected a pair"),
    "floats": ((torch.tensor([0.0, 5.0]), [0, 4]), ShapeError, "offsets: expected integers"),
    "short": (([0, 3], [0, 4]), DomainError, "offsets: expected offsets of x from 0 to 5"),
    "late": (([1, 5], [0, 4]), DomainError, "got from 1 to 5"),
    "empty": (([0, 2, 2, 5], [0, 1, 2, 4]), ShapeError, "at least 1 point of x in every problem, got 0 in problem 1"),
    "falling": (([0, 5], [0, 6, 4]), ShapeError, "got -2 in problem 1"),
    "unpaired": (([0, 5], [0, 2, 4]), ShapeError, "offsets: expected as many problems for x as for y, got 1 and 2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_offsets_are_refused(name: str) -> None:
    given, error, text = WRONG[name]
    x, y, w = torch.zeros(5, 2), torch.zeros(4, 2), torch.zeros(4)
    for call in (
        lambda: ops.softmin(x, y, w, eps=1.0, offsets=given),
        lambda: ops.kernel_sum(x, y, w, kernel="gaussian", offsets=given),
        lambda: ops.nearest(x, y, w, offsets=given),
    ):
        with pytest.raises(error, match=text):
            call()


def test_other_shapes_are_refused() -> None:
    x, both = torch.zeros(4, 2), ([0, 1, 4], [0, 2, 4])
    with pytest.raises(DomainError, match="-inf for all of problem 1"):
        ops.softmin(x, x, torch.tensor([0.0, 0.0, -torch.inf, -torch.inf]), eps=1.0, offsets=both)
    with pytest.raises(ShapeError, match=r"x: expected a concatenation of shape \(N, d\) beside offsets"):
        ops.softmin(x[None], x[None], torch.zeros(4), eps=1.0, offsets=both)
    with pytest.raises(ShapeError, match=r"h: expected shape \(4,\) beside offsets"):
        ops.softmin(x, x, torch.zeros(1, 4), eps=1.0, offsets=both)
    with pytest.raises(ShapeError, match=r"w: expected shape \(4,\) or \(4, q\) beside offsets"):
        ops.kernel_sum(x, x, torch.zeros(3), kernel="gaussian", offsets=both)
    each = kernels.Gaussian(torch.ones(2))
    with pytest.raises(
        ShapeError, match="kernel: expected one bandwidth for all problems beside offsets, got bandwidths"
    ):
        ops.kernel_sum(x, x, torch.zeros(4), kernel=each, offsets=both)
    with pytest.raises(ShapeError, match="k: expected at most 2, the fewest points of y in a problem, got 3"):
        ops.nearest(x, x, k=3, offsets=both)
