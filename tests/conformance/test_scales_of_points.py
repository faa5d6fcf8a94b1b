"""Points so large or so near that float32 does not hold their squares: the right number, or an error that says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import howfar
from howfar import DomainError, costs, kernels, ops

LARGE, SMALL = 1e20, 1e-25
GENERATOR = torch.Generator()


def clouds(scale: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    x, y = torch.randn(6, 2, generator=generator), torch.randn(5, 2, generator=generator) + 0.5
    return scale * x, scale * y


HOMOGENEOUS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "energy_distance": howfar.energy_distance,
    "energy_distance, unbiased": lambda x, y: howfar.energy_distance(x, y, estimator="unbiased"),
    "energy_distance, half exponent": lambda x, y: howfar.energy_distance(x, y, exponent=0.5).square(),
    "energy_distance, pairs on the line": lambda x, y: howfar.energy_distance(x[:, 0], y[:, 0], backend="reference"),
    "gaussian_wasserstein": howfar.gaussian_wasserstein,
    "wasserstein": howfar.wasserstein,
    "sliced_wasserstein": lambda x, y: howfar.sliced_wasserstein(x, y, generator=GENERATOR.manual_seed(0)),
}


@pytest.mark.parametrize("scale", [LARGE, 1e37, SMALL, 1e-20])
@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_what_is_homogeneous_scales(name: str, scale: float) -> None:
    distance = HOMOGENEOUS[name]
    x, y = clouds(1.0)
    expected = scale * distance(x.double(), y.double())
    assert expected > 0
    assert_close(distance(*clouds(scale)).double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("scale", [LARGE, SMALL])
def test_its_derivative_scales(scale: float) -> None:
    gradients = []
    for size in (1.0, scale):
        x, y = clouds(size)
        x.requires_grad_()
        gradients.append(torch.autograd.grad(howfar.energy_distance(x, y), x)[0])
    assert_close(gradients[1], gradients[0], rtol=1e-4, atol=1e-6)


def test_no_distance_is_no_underflow() -> None:
    x = torch.zeros(4, 2)
    for distance in (howfar.energy_distance, howfar.mmd2, howfar.wasserstein):
        assert distance(x, x).abs() < 1e-6
    assert howfar.transport(x, x).value == 0
    assert howfar.transport(x, x, eps="auto").cost == 0


REFUSED: dict[str, Callable[[Tensor, Tensor], object]] = {
    "mmd2": howfar.mmd2,
    "mmd, laplacian": lambda x, y: howfar.mmd(x, y, kernel="laplacian"),
    "mmd2, several bandwidths": lambda x, y: howfar.mmd2(x, y, bandwidth=howfar.MultiBandwidth()),
    "mmd2, linear": lambda x, y: howfar.mmd2(x, y, estimator="linear"),
    "witness": lambda x, y: howfar.witness(x, y, x),
    "transport": howfar.transport,
    "transport, accuracy": lambda x, y: howfar.transport(x, y, accuracy=0.01),
    "barycenter": lambda x, y: howfar.barycenter([x, y], n_support=3),
    "sinkhorn_divergence": lambda x, y: howfar.sinkhorn_divergence(x, y, eps="auto"),
    "fuse": lambda x, y: howfar.two_sample_test(x, y, n_permutations=9),
    "energy test": lambda x, y: howfar.two_sample_test(x, y, statistic="energy_distance", n_permutations=9),
    "mmd2 test": lambda x, y: howfar.two_sample_test(x, y, statistic="mmd2", n_permutations=9),
}


@pytest.mark.parametrize(("scale", "what"), [(LARGE, "an overflow"), (SMALL, "an underflow")])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_lost_is_refused(name: str, scale: float, what: str) -> None:
    with pytest.raises(
        DomainError, match=rf"^(x|cost): .* torch\.float32 holds, got {what}.* (float64|in a wider dtype)\.$"
    ):
        REFUSED[name](*clouds(scale))
    x, y = clouds(scale)
    REFUSED[name](x.double(), y.double())


OPS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "softmin": lambda x, y: ops.softmin(x, y, y.new_zeros(5), eps=1.0),
    "softmin_apply": lambda x, y: ops.softmin_apply(x, y, y.new_zeros(5), y, eps=1.0),
    "softmin, euclidean": lambda x, y: ops.softmin(x, y, y.new_zeros(5), eps=1.0, cost="euclidean"),
    "softmin, ragged": lambda x, y: ops.softmin(x, y, y.new_zeros(5), eps=1.0, offsets=([0, 2, 6], [0, 2, 5])),
    "kernel_sum": lambda x, y: ops.kernel_sum(x, y, y.new_ones(5), kernel=kernels.Gaussian(LARGE)),
    "kernel_sum, sum": lambda x, y: ops.kernel_sum(
        x, y, y.new_ones(5), kernel=kernels.Laplacian(1.0, "cityblock") + kernels.Energy()
    ),
    "nearest": ops.nearest,
    "nearest, ragged": lambda x, y: ops.nearest(x, y, offsets=([0, 2, 6], [0, 2, 5])),
}


@pytest.mark.parametrize("name", OPS)
def test_ops_refuse_what_their_squares_would_make_infinite(name: str) -> None:
    with pytest.raises(
        DomainError, match=r"^x: expected points whose squared distances torch\.float32 holds, got an over"
    ):
        OPS[name](*clouds(LARGE))
    x, y = clouds(1.0)
    # An offset, or one far point among a few, is no overflow.
    OPS[name](x + 1e4, y + 1e4)
    OPS[name](torch.where(x == x.max(), 1e15, x), y)


def test_ops_refuse_what_a_power_would_make_infinite() -> None:
    x, y = clouds(1e15)
    with pytest.raises(DomainError, match=r"^x: expected points whose distances to the power 3 torch\.float32 holds"):
        ops.nearest(x, y, cost=costs.Power(costs.Euclidean(), 3.0))
    with pytest.raises(DomainError, match=r"^x: expected finite numbers, got nan at x\[0\]\[0\]"):
        ops.nearest(x * torch.nan, y)
    with pytest.raises(DomainError, match=r"^y: expected finite numbers, got inf at y\[1\]\[0\]"):
        ops.nearest(x, torch.where(y == y[1, 0], torch.inf, y))


@pytest.mark.parametrize("cost", ["cityblock", costs.Minkowski(3.0)])
def test_costs_without_squares_take_any_size(cost: object) -> None:
    near = ops.nearest(*clouds(1.0), cost=cost)  # type: ignore[arg-type]
    far = ops.nearest(*clouds(LARGE), cost=cost)  # type: ignore[arg-type]
    assert_close(far[0] / LARGE, near[0], rtol=1e-5, atol=0)
    assert far[1].equal(near[1])


def test_a_temperature_beyond_the_dtype_is_refused() -> None:
    x, y = clouds(1.0)
    with pytest.raises(DomainError, match=r"^eps: expected a number <= 3.4e\+38, for torch.float32, got 1e\+39"):
        ops.softmin(x, y, torch.zeros(5), eps=1e39)
    with pytest.raises(DomainError, match=r"^eps: expected a number <= 3.4e\+38"):
        howfar.sinkhorn_divergence(LARGE * x, LARGE * y, blur=LARGE)
