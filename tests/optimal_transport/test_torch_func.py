"""Distances that iterate, as `torch.func` and forward derivatives see them: one step with derivatives of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.functional import hessian as hessian_of
from torch.autograd.functional import jacobian
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.testing import assert_close

import howfar
from howfar import DerivativeUnavailable, DomainError

# Forward mode scripts a part of torch when first used, and torch warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

Distance = Callable[[Tensor, Tensor], Tensor]
ONCE: dict[str, Distance] = {
    "frechet_distance": howfar.frechet_distance,
    "gaussian_wasserstein": howfar.gaussian_wasserstein,
}
TWICE: dict[str, Distance] = {
    "wasserstein": howfar.wasserstein,
    "sinkhorn_distance": lambda x, y: howfar.sinkhorn_distance(x, y, eps=0.5, tol=1e-12),
    "sinkhorn_divergence": lambda x, y: howfar.sinkhorn_divergence(x, y, eps=0.5, tol=1e-12),
    "unbalanced": lambda x, y: howfar.sinkhorn_divergence(x, y, blur=0.7, reach=1.0, tol=1e-12),
}
BY_RULE: dict[str, Distance] = {
    "mmd2, median": howfar.mmd2,
    "mmd, several bandwidths": lambda x, y: howfar.mmd(x, y, bandwidth=howfar.MultiBandwidth()),
    "js": lambda x, y: howfar.js(x[:5].softmax(-1), y.softmax(-1)).sum(),
    "kl of logits": lambda x, y: howfar.kl(x[:5], y, from_logits=True).sum(),
}
EVERY = pytest.mark.parametrize("distance", [*(ONCE | TWICE | BY_RULE).values()], ids=[*ONCE, *TWICE, *BY_RULE])


def clouds() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(3, n, 2, generator=generator, dtype=torch.float64) for n in (6, 5))
    return x, y


def gradient(distance: Distance, x: Tensor, y: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(distance(leaf, y), leaf)[0]


@EVERY
def test_vmap_is_a_batch(distance: Distance) -> None:
    x, y = clouds()
    pairs = list(zip(x, y, strict=True))
    assert_close(vmap(distance)(x, y), torch.stack([distance(u, v) for u, v in pairs]))
    assert_close(vmap(grad(distance))(x, y), torch.stack([gradient(distance, u, v) for u, v in pairs]))
    one_x = vmap(distance, in_dims=(None, 1))(x[0], y.movedim(0, 1))
    assert_close(one_x, torch.stack([distance(x[0], v) for v in y]))
    apart = vmap(grad(distance), in_dims=(None, 0))(x[0], y)
    assert_close(apart, torch.stack([gradient(distance, x[0], v) for v in y]))


@EVERY
def test_first_derivatives(distance: Distance) -> None:
    x, y = (cloud[0] for cloud in clouds())
    wanted = gradient(distance, x, y)
    tangent = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape)
    assert_close(grad(distance)(x, y), wanted)
    assert_close(jacrev(distance)(x, y), wanted)
    assert_close(jacfwd(distance)(x, y), wanted)
    value, pull = vjp(lambda x: distance(x, y), x)
    assert_close(value, distance(x, y))
    assert_close(pull(torch.ones_like(value))[0], wanted)
    value, moved = jvp(lambda x: distance(x, y), (x,), (tangent,))
    assert_close(value, distance(x, y))
    assert_close(moved, (wanted * tangent).sum())
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(distance(forward_ad.make_dual(x, tangent), y))
    assert dual.tangent is not None
    assert_close(dual.tangent, (wanted * tangent).sum())


@pytest.mark.parametrize("distance", TWICE.values(), ids=TWICE)
def test_second_derivatives(distance: Distance) -> None:
    x, y = (cloud[0] for cloud in clouds())
    wanted = hessian_of(lambda x: distance(x, y), x)
    for found in (hessian(distance), jacrev(jacrev(distance)), jacrev(jacfwd(distance))):
        assert_close(found(x, y), wanted, rtol=1e-6, atol=1e-8)
    mixed = jacrev(jacrev(distance, argnums=1))(x, y)
    assert_close(jacfwd(jacrev(distance, argnums=1))(x, y), mixed, rtol=1e-6, atol=1e-8)
    assert mixed.abs().max() > 0.01


def test_a_batch_inside_of_a_transform() -> None:
    x, y = clouds()
    distance = TWICE["sinkhorn_divergence"]
    wanted = jacobian(lambda x: distance(x, y), x)
    assert_close(jacrev(distance)(x, y), wanted)
    assert_close(jacfwd(distance)(x, y), wanted)


def test_derivatives_in_weights_and_temperature() -> None:
    x, y = (cloud[0] for cloud in clouds())
    a = torch.tensor([0.1, 0.2, 0.3, 0.1, 0.2, 0.1], dtype=torch.float64)

    def distance(a: Tensor, eps: Tensor) -> Tensor:
        return howfar.sinkhorn_divergence(x, y, a=a.softmax(-1), eps=eps, tol=1e-12)

    eps = torch.tensor(0.5, dtype=torch.float64)
    wanted = jacobian(distance, (a, eps))
    assert_close(grad(distance, argnums=(0, 1))(a, eps), wanted)
    temperatures = torch.tensor([0.3, 0.5], dtype=torch.float64)
    each = vmap(distance, in_dims=(None, 0))(a, temperatures)
    assert_close(each, torch.stack([distance(a, e) for e in temperatures]))


def test_ragged_clouds_inside_of_a_transform() -> None:
    x, y = clouds()
    sizes = 4, 6, 3
    ragged = lambda x: howfar.sinkhorn_divergence([c[:n] for c, n in zip(x, sizes, strict=True)], y, eps=0.5).sum()
    assert_close(grad(ragged)(x), jacobian(ragged, x))


def test_a_ragged_op_inside_of_a_transform() -> None:
    x, y = (cloud.flatten(0, 1) for cloud in clouds())
    offsets = [0, 6, 12, 18], [0, 5, 10, 15]
    total = lambda x: howfar.ops.softmin(x, y, y[:, 0], eps=0.5, offsets=offsets).square().sum()
    assert_close(grad(total)(x), jacobian(total, x))


REFUSED: dict[str, Distance] = {
    "transport": lambda x, y: howfar.transport(x, y).value,
    "transport_matrix": lambda x, y: howfar.transport_matrix(x @ y.mT, eps=0.5).value,
    "transport_grid": lambda x, y: howfar.transport_grid(x, y, eps=0.5).value,
    "sinkhorn_divergence_grid": lambda x, y: howfar.sinkhorn_divergence_grid(x, y, eps=0.5),
    "barycenter": lambda x, y: howfar.barycenter([x, y]).objective,
    "max_sliced_wasserstein": howfar.max_sliced_wasserstein,
}


@pytest.mark.parametrize("name", [*REFUSED, "gaussian_barycenter", "two_sample_test"])
def test_what_cannot_be_mapped_says_what_can(name: str) -> None:
    others: dict[str, Distance] = {
        "gaussian_barycenter": lambda x, y: howfar.gaussian_barycenter([x, y]).mean,
        "two_sample_test": lambda x, y: howfar.two_sample_test(x, y).statistic,
    }
    with pytest.raises(DomainError, match=rf"^{name}: .* one inside of vmap\. Pass a batch \(\.\.\., n, d\) in place"):
        vmap((REFUSED | others)[name])(*clouds())


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_for_a_transform_says_what_has(name: str) -> None:
    x, y = (cloud[0] for cloud in clouds())
    with pytest.raises(DerivativeUnavailable, match=rf"^{name}: .* one inside of grad\. .* torch\.autograd\.grad"):
        grad(REFUSED[name])(x, y)
    with pytest.raises(DerivativeUnavailable, match=rf"^{name}: .* one inside of jvp\."):
        jvp(lambda x: REFUSED[name](x, y), (x,), (x,))


@pytest.mark.parametrize("name", ["sinkhorn_divergence", "sinkhorn_distance", "wasserstein"])
def test_what_a_callable_cost_holds_is_not_lost(name: str) -> None:
    x, y = (cloud[0] for cloud in clouds())
    options = {} if name == "wasserstein" else {"eps": 0.5}

    def distance(turn: Tensor) -> Tensor:
        cost = lambda x, y: howfar.costs.SqEuclidean().matrix(x @ turn, y @ turn)
        return getattr(howfar, name)(x, y, cost=cost, **options)

    with pytest.raises(DerivativeUnavailable, match=r"^cost: expected a cost of howfar\.costs inside of torch\.func"):
        grad(distance)(torch.eye(2, dtype=x.dtype))
    assert jacobian(distance, torch.eye(2, dtype=x.dtype)).abs().max() > 0


def test_what_carries_no_forward_derivative_says_so() -> None:
    x, y = (cloud[0] for cloud in clouds())
    with forward_ad.dual_level(), pytest.raises(DerivativeUnavailable, match="Use reverse mode"):
        howfar.transport(forward_ad.make_dual(x, x), y, eps=0.5)


@pytest.mark.parametrize("name", ["sinkhorn_divergence", "js"])
def test_a_forward_derivative_of_a_forward_derivative_is_refused_where_torch_would_lose_it(name: str) -> None:
    x, y = (cloud[0] for cloud in clouds())
    distance = (TWICE | BY_RULE)[name]
    with pytest.raises(DerivativeUnavailable, match=r"Use torch\.func\.hessian"):
        jacfwd(jacfwd(distance))(x, y)


def test_third_derivatives() -> None:
    x, y = (cloud[0] for cloud in clouds())
    v = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).reshape(x.shape)
    distance = TWICE["sinkhorn_divergence"]
    along = lambda function: lambda x: (jacrev(function)(x) * v).sum()
    curvature = along(along(lambda x: distance(x, y)))
    step = 1e-4
    assert_close(along(curvature)(x), (curvature(x + step * v) - curvature(x - step * v)) / (2 * step))
    with pytest.raises(DerivativeUnavailable, match=r"Use torch\.func\.jacrev for the third order"):
        jacfwd(jacrev(jacrev(distance)))(x, y)


def test_numbers_are_checked_inside_of_grad() -> None:
    x, y = (cloud[0] for cloud in clouds())
    with pytest.raises(DomainError, match="x: expected finite numbers"):
        grad(TWICE["sinkhorn_divergence"])(x * torch.nan, y)
