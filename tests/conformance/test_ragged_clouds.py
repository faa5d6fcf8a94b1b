"""A list of clouds of different sizes is the loop over its pairs: values, gradients, results, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import howfar
from howfar._errors import DomainError, HowfarError, ShapeError

SIZES = [(1, 1), (200, 3), (7, 50), (2, 120), (64, 64)]
Clouds = list[Tensor]

ANY: dict[str, Callable[..., Tensor]] = {
    "exact": lambda x, y, **w: howfar.transport(x, y, **w).value,
    "entropic": lambda x, y, **w: howfar.transport(x, y, eps=0.3, tol=1e-12, max_iter=20000, **w).value,
    "entropic cost": lambda x, y, **w: howfar.sinkhorn_distance(x, y, eps=0.5, tol=1e-12, max_iter=20000, **w),
    "unbalanced": lambda x, y, **w: howfar.transport(x, y, eps=0.5, reach=1.0, tol=1e-12, max_iter=9000, **w).value,
    "divergence": lambda x, y, **w: howfar.sinkhorn_divergence(x, y, eps=0.5, tol=1e-12, max_iter=20000, **w),
    "soft divergence": lambda x, y, **w: howfar.sinkhorn_divergence(x, y, blur=0.7, reach=1.0, tol=1e-12, **w),
    "wasserstein 1": lambda x, y, **w: howfar.wasserstein(x, y, p=1, **w),
    "wasserstein 2": lambda x, y, **w: howfar.wasserstein(x, y, p=2, **w),
    "mmd2 biased": lambda x, y, **w: howfar.mmd2(x, y, estimator="biased", **w),
    "energy": howfar.energy_distance,
    "sliced": lambda x, y, **w: howfar.sliced_wasserstein(x, y, generator=torch.Generator().manual_seed(0), **w),
    "frechet": howfar.frechet_distance,
}
PAIRS: dict[str, Callable[..., Tensor]] = {
    "mmd2 unbiased": howfar.mmd2,
    "mmd2 domain adaptation": lambda x, y, **w: howfar.mmd2(x, y, bandwidth=howfar.MultiBandwidth(), **w),
    "energy unbiased": lambda x, y, **w: howfar.energy_distance(x, y, estimator="unbiased", **w),
    "frechet of samples": lambda x, y, **w: howfar.frechet_distance(x, y, correction=1, **w),
}
"""Those that need two points on each side."""


def clouds(d: int, least: int = 1, dtype: torch.dtype = torch.float64) -> tuple[Clouds, Clouds, Clouds, Clouds]:
    generator = torch.Generator().manual_seed(d)
    draw = lambda *s: torch.randn(*s, generator=generator, dtype=torch.float64)
    share = lambda n: torch.softmax(draw(n), 0)
    sizes = [(max(n, least), max(m, least)) for n, m in SIZES]
    x, y = [draw(n, d) for n, _ in sizes], [0.5 * draw(m, d) + 1 for _, m in sizes]
    weights = [share(n) for n, _ in sizes], [share(m) for _, m in sizes]
    made = (x, y, *weights)
    return tuple([t.to(dtype) for t in side] for side in made)  # type: ignore[return-value]


def agree(distance: Callable[..., Tensor], d: int, least: int, weighted: bool, rel: float = 1e-8) -> None:
    x, y, a, b = clouds(d, least)
    found = []
    for ragged in (True, False):
        leaves = [[t.clone().requires_grad_() for t in side] for side in ((x, y, a, b) if weighted else (x, y))]
        if ragged:
            value = distance(*leaves[:2], **dict(zip("ab", leaves[2:], strict=False)))
        else:
            each = zip(*leaves, strict=True)
            value = torch.stack([distance(one[0], one[1], **dict(zip("ab", one[2:], strict=False))) for one in each])
        direction = torch.linspace(1, 2, len(x), dtype=value.dtype)
        flat = [t for side in leaves for t in side]
        found.append((value, torch.autograd.grad((value * direction).sum(), flat)))
    (value, grads), (wanted, wanted_grads) = found
    assert value.shape == (len(x),)
    torch.testing.assert_close(value, wanted, rtol=rel, atol=rel)
    sides = len(SIZES)
    for k, (got, expected) in enumerate(zip(grads, wanted_grads, strict=True)):
        assert bool(torch.isfinite(got).all())
        if k >= 2 * sides:
            # In weights of a fixed total a derivative is known up to a constant.
            got, expected = got - got.mean(), expected - expected.mean()
        torch.testing.assert_close(got, expected, rtol=100 * rel, atol=100 * rel)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("name", ANY)
def test_ragged_is_the_loop(name: str, d: int, weighted: bool) -> None:
    agree(ANY[name], d, 1, weighted)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_ragged_is_the_loop_where_two_points_are_needed(name: str, d: int, weighted: bool) -> None:
    agree(PAIRS[name], d, 2, weighted)


def test_float32_weights_are_those_of_each_cloud() -> None:
    x, y, _, _ = clouds(2, dtype=torch.float32)
    for name in ("exact", "energy", "mmd2 biased"):
        wanted = torch.stack([ANY[name](one, other) for one, other in zip(x, y, strict=True)])
        torch.testing.assert_close(ANY[name](x, y), wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("eps", [None, 0.3])
def test_results_are_padded(eps: float | None) -> None:
    x, y, _, _ = clouds(2)
    result = howfar.transport(x, y, eps=eps, tol=1e-12, max_iter=20000)
    plan, image = result.plan(), result.map()
    assert plan.shape == (len(x), 200, 120)
    assert result.potentials[0].shape == (len(x), 200)
    assert bool(torch.isfinite(image).all())
    for b, (one, other) in enumerate(zip(x, y, strict=True)):
        n, m = len(one), len(other)
        single = howfar.transport(one, other, eps=eps, tol=1e-12, max_iter=20000)
        torch.testing.assert_close(plan[b, :n, :m], single.plan(), rtol=1e-6, atol=1e-9)
        assert float(plan[b, n:].abs().sum() + plan[b, :, m:].abs().sum()) == 0
        torch.testing.assert_close(image[b, :n], single.map(), rtol=1e-6, atol=1e-7)
        lower, upper = (bound[b] for bound in result.bounds)
        assert float(lower) - 1e-9 <= float(howfar.transport(one, other).value) <= float(upper) + 1e-9


def test_one_cloud_meets_many() -> None:
    x, y, _, _ = clouds(2)
    wanted = torch.stack([howfar.energy_distance(one, y[2]) for one in x])
    torch.testing.assert_close(howfar.energy_distance(x, y[2]), wanted)
    same = [torch.ones(3, 2), torch.zeros(3, 2)]
    assert torch.equal(howfar.energy_distance(same, same[0]), howfar.energy_distance(torch.stack(same), same[0]))


def test_a_module_takes_lists() -> None:
    x, y, _, _ = clouds(2)
    assert torch.equal(howfar.nn.Energy()(x, y), howfar.energy_distance(x, y))


two = [torch.zeros(2, 2), torch.ones(3, 2)]
REFUSED: dict[str, tuple[Callable[[], Any], type[HowfarError], str]] = {
    "empty list": (lambda: howfar.wasserstein([], two), ShapeError, "x: expected points"),
    "empty cloud": (lambda: howfar.wasserstein([two[0], torch.zeros(0, 2)], two), ShapeError, r"x\[1\]: expected points"),
    "lengths": (lambda: howfar.wasserstein(two, [*two, two[0]]), ShapeError, r"y: expected batch axes .* got \(3,\)"),
    "features": (lambda: howfar.mmd2([two[0], torch.ones(3, 1)], two), ShapeError, r"x\[1\]: expected shape \(..., m, 2\)"),
    "dtype": (lambda: howfar.mmd2([two[0], two[1].double()], two), DomainError, r"x\[1\]: expected dtype torch.float32"),
    "axes": (lambda: howfar.mmd2([two[0], torch.ones(1, 3, 2)], two), ShapeError, r"x\[1\]: expected points of shape \(n, d\)"),
    "one weighting": (
        lambda: howfar.mmd2(two, two, a=torch.ones(2, 3) / 3), ShapeError, "a: expected a list of 2 weightings",
    ),
    "few weightings": (lambda: howfar.mmd2(two, two, b=[None]), ShapeError, "b: expected a list of 2 .* got a list of 1"),
    "weights": (lambda: howfar.mmd2(two, two, b=[None, [1.0]]), ShapeError, r"b\[1\]: expected shape \(..., 3\)"),
    "single point": (
        lambda: howfar.mmd2([two[0], torch.ones(1, 2)], two), ShapeError, "x: expected at least 2 points .* got 1",
    ),
    "disjoint pairs": (
        lambda: howfar.mmd2(two, two, estimator="linear"), DomainError, "x: expected clouds of one size with estimator='linear'",
    ),
    "correction": (
        lambda: howfar.frechet_distance([two[0], torch.ones(1, 2)], two, correction=1), ShapeError, "x: expected more than 1",
    ),
    "automatic bins": (
        lambda: howfar.histogram([t[:, :1] for t in two], [t[:, :1] for t in two], bins="auto"), DomainError,
        "bins: expected a count or edges for clouds of different sizes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_batch_is_refused(name: str) -> None:
    call, error, text = REFUSED[name]
    with pytest.raises(error, match=text):
        call()
