"""Slope penalties: closed forms, shapes, precision, derivatives, guards."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from howfar import adversarial
from howfar._errors import DomainError, HowfarWarning, ShapeError, UnknownName
from howfar.adversarial import PENALTIES, calibrated_wasserstein, clip_weights, critic_slopes, gradient_penalty

W = torch.tensor([1.0, -2.0, 2.0, 4.0, 0.5, -1.5, 2.5, 3.0], dtype=torch.float64)
NORM = W.norm().item()


def linear(points):
    return points.reshape(points.shape[0], -1) @ W.to(points.dtype)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batches(*shape, dtype=torch.float64, seed=0):
    generator = seeded(seed)
    return {name: torch.randn(*shape, generator=generator, dtype=dtype) for name in ("real", "fake")}


def smooth_critic(seed=0, dtype=torch.float64, d=3):
    generator = seeded(seed)
    critic = nn.Sequential(nn.Linear(d, 5), nn.Tanh(), nn.Linear(5, 1)).to(dtype)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=dtype))
    return critic


CLOSED = {
    "two-sided": (NORM - 1) ** 2,
    "one-sided": (NORM - 1) ** 2,
    "zero": NORM**2,
    "r1": NORM**2 / 2,
    "r2": NORM**2 / 2,
    "dragan": (NORM - 1) ** 2,
}


@pytest.mark.parametrize("kind", PENALTIES)
@pytest.mark.parametrize("shape", [(8,), (2, 4), (2, 2, 2), (1, 8), (8, 1, 1)])
@pytest.mark.parametrize("n", [1, 3, 64])
def test_a_linear_critic_pays_its_norm_whatever_the_batch_or_the_shape(kind, shape, n):
    penalty = gradient_penalty(linear, **batches(n, *shape), kind=kind, weight=7.0)
    assert penalty.shape == ()
    assert penalty.item() == pytest.approx(7.0 * CLOSED[kind], rel=1e-12)


@pytest.mark.parametrize("kind", PENALTIES)
def test_points_on_the_line(kind):
    """Batches (N,) of numbers: the slope is the absolute derivative."""
    value = gradient_penalty(lambda x: -3.0 * x, **batches(5), kind=kind, weight=1.0).item()
    assert value == pytest.approx({"zero": 9.0, "r1": 4.5, "r2": 4.5}.get(kind, 4.0), rel=1e-12)


def test_the_one_sided_penalty_leaves_gentle_slopes_alone():
    given = batches(4, 8)
    assert gradient_penalty(lambda x: 0.1 * x.sum(1), **given, kind="one-sided").item() == 0
    assert gradient_penalty(lambda x: 0.1 * x.sum(1), **given, kind="two-sided").item() > 1


@pytest.mark.parametrize("kind", ["two-sided", "one-sided", "dragan"])
def test_the_target_scales_the_slope(kind):
    value = gradient_penalty(linear, **batches(4, 8), kind=kind, weight=2.0, target=4.0).item()
    assert value == pytest.approx(2.0 * (NORM / 4.0 - 1) ** 2, rel=1e-12)


def test_r1_is_at_reals_and_r2_at_fakes():
    given = {"real": torch.tensor([[1.0], [2.0]]), "fake": torch.tensor([[3.0], [5.0]])}
    cubic = lambda x: x.pow(3).sum(1)
    r1 = gradient_penalty(cubic, real=given["real"], kind="r1", weight=1.0)
    assert r1.item() == pytest.approx((9 * 1 + 9 * 16) / 4)
    r2 = gradient_penalty(cubic, fake=given["fake"], kind="r2", weight=1.0)
    assert r2.item() == pytest.approx((9 * 81 + 9 * 625) / 4)


def test_every_sample_has_a_mixing_number_of_its_own():
    seen = []

    def critic(points):
        seen.append(points.detach())
        return points.reshape(points.shape[0], -1).sum(1)

    real, fake = torch.zeros(500, 3, 2), torch.ones(500, 3, 2)
    gradient_penalty(critic, real=real, fake=fake, generator=seeded())
    mix = seen[0].reshape(500, -1)
    assert (mix == mix[:, :1]).all(), "one number per sample, shared by its entries"
    mix = mix[:, 0].sort().values
    assert len(mix.unique()) == 500
    uniform = (torch.arange(500) + 0.5) / 500
    assert (mix - uniform).abs().max() < 0.06, "Kolmogorov and Smirnov, uniform on (0, 1)"
    gradient_penalty(critic, real=real, fake=fake, generator=seeded())
    assert torch.equal(seen[0], seen[1]), "the generator decides"
    gradient_penalty(critic, real=real, fake=fake, generator=seeded(1))
    assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize(("noise", "low", "high"), [((-0.5, 0.5), -0.5, 0.5), ((0.0, 0.5), 0.0, 0.5)])
def test_dragan_noise_is_uniform_per_entry_in_deviations_of_the_batch(noise, low, high):
    seen = []
    real = 3.0 * torch.randn(400, 5, generator=seeded(), dtype=torch.float64) + 7.0

    def critic(points):
        seen.append(points.detach())
        return points.sum(1)

    gradient_penalty(critic, real=real, kind="dragan", noise=noise, generator=seeded(1))
    spread = ((seen[0] - real) / real.std(correction=0)).flatten()
    assert low <= spread.min() < low + 0.01
    assert high - 0.01 < spread.max() <= high
    assert spread.mean().item() == pytest.approx((low + high) / 2, abs=0.02)
    assert len(spread.unique()) == 2000


@pytest.mark.parametrize("kind", PENALTIES)
def test_ends_are_detached_and_left_as_they_were(kind):
    given = {name: value.requires_grad_() for name, value in batches(4, 3).items()}
    copies = {name: value.detach().clone() for name, value in given.items()}
    critic = smooth_critic()
    gradient_penalty(critic, **given, kind=kind).backward()
    assert all(value.grad is None and value.requires_grad for value in given.values())
    assert all(torch.equal(given[name], copies[name]) for name in given)
    assert all(parameter.grad is not None for parameter in list(critic.parameters())[:-1])


@pytest.mark.parametrize("kind", PENALTIES)
def test_derivatives_to_second_order(kind):
    given = batches(4, 3)
    first, second = (W[:6] / 3).reshape(3, 2).clone().requires_grad_(), W[:2].clone().requires_grad_()

    def penalty(first, second):
        critic = lambda x: torch.tanh(x @ first) @ second
        return gradient_penalty(critic, **given, kind=kind, generator=seeded())

    assert torch.autograd.gradcheck(penalty, (first, second))
    assert torch.autograd.gradgradcheck(penalty, (first, second))


@pytest.mark.parametrize("kind", PENALTIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_flat_critic_has_finite_gradients(kind, dtype):
    critic = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).to(dtype)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.zero_()
    penalty = gradient_penalty(critic, **batches(5, 3, dtype=dtype), kind=kind)
    assert penalty.item() == {"two-sided": 10.0, "dragan": 10.0}.get(kind, 0.0)
    penalty.backward()
    assert all(torch.isfinite(p.grad).all() for p in critic.parameters() if p.grad is not None)


def test_the_last_short_batch_counts_each_sample_alike():
    critic, given = smooth_critic(), batches(7, 3)
    slopes = critic_slopes(critic, given["real"])
    for n in (1, 2, 7):
        value = gradient_penalty(critic, real=given["real"][:n], kind="r1", weight=1.0)
        assert value.item() == pytest.approx(slopes[:n].square().mean().item() / 2, rel=1e-12)


@pytest.mark.parametrize("columns", [(), (1,), (1, 3, 3), (5,)])
def test_patch_critics_count_with_the_mean_over_their_patches(columns):
    def critic(points):
        return linear(points).reshape(-1, *[1] * len(columns)).expand(-1, *columns)

    value = gradient_penalty(critic, **batches(3, 8), weight=1.0).item()
    assert value == pytest.approx((NORM - 1) ** 2, rel=1e-12)


def test_conditional_critics():
    labels = torch.tensor([0, 1, 1])

    def critic(points, labels, *, scale):
        return (1.0 + labels) * scale * linear(points)

    value = gradient_penalty(critic, **batches(3, 8), kind="r1", weight=2.0, args=(labels,), kwargs={"scale": 0.5})
    assert value.item() == pytest.approx(NORM**2 / 4 * (1 + 4 + 4) / 3, rel=1e-12)


@pytest.mark.parametrize("kind", PENALTIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_is_off_inside(kind, dtype):
    critic = smooth_critic(dtype=torch.float32)
    given = {name: value.to(dtype) for name, value in batches(6, 3, dtype=torch.float32).items()}
    with torch.autocast("cpu", torch.bfloat16):
        inside = gradient_penalty(critic, **given, kind=kind, generator=seeded())
        assert critic(given["real"]).dtype == torch.bfloat16
    assert inside.dtype == torch.float32
    if dtype == torch.float32:
        outside = gradient_penalty(critic, **given, kind=kind, generator=seeded())
        assert inside.item() == outside.item()
    inside.backward()
    assert all(torch.isfinite(p.grad).all() for p in critic.parameters() if p.grad is not None)


def test_a_critic_of_half_precision_is_summed_in_float32():
    critic = smooth_critic(dtype=torch.bfloat16)
    given = {name: value.bfloat16() for name, value in batches(64, 3).items()}
    penalty = gradient_penalty(critic, **given, generator=seeded())
    assert penalty.dtype == torch.float32
    precise = gradient_penalty(critic.double(), **{k: v.double() for k, v in given.items()}, generator=seeded())
    assert penalty.item() == pytest.approx(precise.item(), rel=0.1)


def test_without_gradients_there_is_no_graph():
    critic, given = smooth_critic(), batches(4, 3)
    with torch.no_grad():
        penalty = gradient_penalty(critic, **given, generator=seeded())
    assert not penalty.requires_grad
    assert penalty.item() == gradient_penalty(critic, **given, generator=seeded()).item()


def test_numpy_and_integer_batches():
    x = np.arange(16.0).reshape(2, 8)
    assert gradient_penalty(linear, real=x, fake=x + 1, weight=1.0).item() == pytest.approx((NORM - 1) ** 2, rel=1e-12)
    pixels = torch.arange(16, dtype=torch.uint8).reshape(2, 8)
    assert gradient_penalty(linear, real=pixels, kind="r1", weight=2.0).item() == pytest.approx(NORM**2, rel=1e-5)


def test_float32_batches_far_from_the_origin():
    given = {name: value.float() + 1e4 for name, value in batches(32, 8).items()}
    assert gradient_penalty(linear, **given, weight=1.0).item() == pytest.approx((NORM - 1) ** 2, rel=1e-5)


def test_the_critic_of_wgan_gp_overshoots_w1():
    """Point masses D apart: the best slope is 1 + D / (2 w), the estimate D + D^2 / (2 w), the value D + D^2 / (4 w)."""
    for distance, weight in itertools.product((0.5, 1.0, 3.0), (0.1, 10.0)):
        real, fake = (torch.full((4, 1), v, dtype=torch.float64) for v in (distance, 0.0))
        slope = torch.tensor([1 + distance / (2 * weight)], dtype=torch.float64, requires_grad=True)
        critic = lambda x: x * slope  # noqa: B023
        game = adversarial.Wasserstein()
        scores = {"real": critic(real), "fake": critic(fake)}
        loss = game.critic(**scores) + gradient_penalty(critic, real=real, fake=fake, weight=weight)
        (gradient,) = torch.autograd.grad(loss, slope)
        assert gradient.abs().item() < 1e-12
        assert game.estimate(**scores).item() == pytest.approx(distance + distance**2 / (2 * weight), rel=1e-12)
        assert -loss.item() == pytest.approx(distance + distance**2 / (4 * weight), rel=1e-12)
        if (distance, weight) == (1.0, 10.0):
            assert game.estimate(**scores).item() == pytest.approx(1.05, rel=1e-12)


def test_clipping_gives_an_arbitrary_scale_that_calibration_takes_out():
    critic = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(critic.weight, 5.0)
    assert clip_weights(critic, 0.01) is None
    assert critic.weight.item() == pytest.approx(0.01)
    real, fake = torch.full((6, 1), 3.0, dtype=torch.float64), torch.zeros(6, 1, dtype=torch.float64)
    scores = {"real": critic(real), "fake": critic(fake)}
    assert adversarial.Wasserstein().estimate(**scores).item() == pytest.approx(0.03, rel=1e-12)
    calibrated = calibrated_wasserstein(critic, real=real, fake=fake)
    assert calibrated.item() == pytest.approx(3.0, rel=1e-12)
    assert not calibrated.requires_grad
    nn.init.zeros_(critic.weight)
    assert calibrated_wasserstein(critic, real=real, fake=fake).item() == 0


def test_calibration_divides_by_the_steepest_slope_seen():
    real, fake = torch.tensor([[2.0]], dtype=torch.float64), torch.tensor([[0.0]], dtype=torch.float64)
    assert calibrated_wasserstein(lambda x: x**2, real=real, fake=fake).item() == pytest.approx(4 / 4, rel=1e-12)


def test_clipping_keeps_small_weights_and_buffers():
    critic = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    with torch.no_grad():
        critic[0].weight.copy_(torch.tensor([[0.005, -0.5, 0.5]] * 3))
    clip_weights(critic, 0.01)
    torch.testing.assert_close(critic[0].weight[0], torch.tensor([0.005, -0.01, 0.01]), rtol=0, atol=0)
    assert (critic[1].running_var == 1).all()
    assert critic[0].weight.requires_grad


def test_slopes_of_a_critic():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
    slopes = critic_slopes(lambda p: p.square().sum(1), x)
    assert slopes.tolist() == [10.0, 0.0]


def test_batch_normalisation_warns_once_and_names_the_layer():
    critic = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1)).double()
    with pytest.warns(HowfarWarning, match="batch normalisation in training mode at '1'") as record:
        gradient_penalty(critic, **batches(4, 3))
    assert record[0].filename == __file__
    gradient_penalty(critic, **batches(4, 3))
    fresh = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double().eval()
    gradient_penalty(fresh, **batches(4, 3))
    gradient_penalty(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1)).double(), **batches(4, 3))
    images = nn.Sequential(nn.Conv2d(2, 3, 1), nn.InstanceNorm2d(3), nn.Flatten(), nn.Linear(12, 1)).double()
    gradient_penalty(images, **batches(4, 2, 2, 2))


@pytest.mark.parametrize("where", ["module", "function", "inside", "in place"])
def test_a_compiled_critic_is_refused_before_torch_fails(where):
    """Nothing is compiled here: the wrapper alone is recognised."""
    module = smooth_critic()
    if where == "module":
        critic = torch.compile(module, backend="aot_eager")
    elif where == "function":
        critic = torch.compile(lambda x: x.sum(1), backend="aot_eager")
    elif where == "inside":
        critic = nn.Sequential(torch.compile(module, backend="aot_eager"))
    else:
        module.compile(backend="aot_eager")
        critic = module
    with pytest.raises(DomainError, match=r"critic: expected an eager critic.*_orig_mod"):
        gradient_penalty(critic, **batches(4, 3))
    if where == "module":
        gradient_penalty(critic._orig_mod, **batches(4, 3))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_critic_may_be_read_without_gradients():
    module = smooth_critic()
    compiled = torch.compile(module, backend="aot_eager")
    x, y = batches(4, 3).values()
    read = calibrated_wasserstein(compiled, real=x, fake=y, generator=seeded())
    torch.testing.assert_close(read, calibrated_wasserstein(module, real=x, fake=y, generator=seeded()))


def test_one_number_has_no_deviation_for_dragan():
    penalty = gradient_penalty(lambda x: x**2, real=torch.tensor([3.0]), kind="dragan", weight=1.0)
    assert penalty.item() == pytest.approx((6 - 1) ** 2)


BAD = [
    ({"real": torch.zeros(4, 3), "fake": torch.zeros(3, 3)}, ShapeError, r"fake: expected shape \(4, 3\)"),
    ({"real": torch.zeros(4, 3), "fake": torch.zeros(4, 3, 1)}, ShapeError, r"fake: expected shape \(4, 3\)"),
    (
        {"real": torch.zeros(4, 3), "fake": torch.zeros(4, 3).double()},
        DomainError,
        "fake: expected dtype torch.float32",
    ),
    (
        {"real": torch.zeros(4, 3), "fake": torch.zeros(4, 3, device="meta")},
        DomainError,
        "fake: expected a tensor on cpu",
    ),
    ({"real": torch.zeros(0, 3), "fake": torch.zeros(0, 3)}, ShapeError, "real: expected a batch"),
    ({"real": torch.tensor(1.0), "fake": torch.tensor(1.0)}, ShapeError, "real: expected a batch"),
    ({"real": torch.zeros(4, 3)}, DomainError, "fake: expected a batch, which 'two-sided' needs"),
    ({"real": torch.zeros(4, 3), "kind": "r2"}, DomainError, "fake: expected a batch, which 'r2' needs"),
    ({"fake": torch.zeros(4, 3), "kind": "dragan"}, DomainError, "real: expected a batch, which 'dragan' needs"),
    ({"real": torch.zeros(4, 3), "kind": "R1"}, UnknownName, "Did you mean 'r1'"),
    ({"real": torch.zeros(4, 3), "kind": "r1", "weight": -1.0}, DomainError, "weight: expected a number >= 0"),
    ({"real": torch.zeros(4, 3), "kind": "r1", "target": 2.0}, DomainError, "target: expected no target"),
    ({"real": torch.zeros(4, 3), "kind": "dragan", "target": 0.0}, DomainError, "target: expected a number > 0"),
    ({"real": torch.zeros(4, 3), "kind": "dragan", "noise": (0.0, math.nan)}, DomainError, "noise: expected a finite"),
]


@pytest.mark.parametrize(("given", "error", "message"), BAD, ids=range(len(BAD)))
def test_bad_batches_raise_by_name(given, error, message):
    with pytest.raises(error, match=message):
        gradient_penalty(lambda x: x.sum(1), **given)


@pytest.mark.parametrize(
    ("critic", "error", "message"),
    [
        (lambda x: x.sum(), ShapeError, r"critic: expected scores of shape \(4,\) or \(4, ...\), got shape \(\)"),
        (lambda x: x.sum(1)[:2], ShapeError, r"got shape \(2,\)"),
        (lambda x: (x.sum(1), x), ShapeError, "got tuple"),
        (lambda x: x.detach().sum(1), DomainError, "critic: expected scores that depend on the points"),
        (lambda x: torch.ones(len(x), requires_grad=True), DomainError, "no gradient path"),
    ],
)
def test_bad_critics_raise_by_name(critic, error, message):
    with pytest.raises(error, match=message):
        gradient_penalty(critic, real=torch.zeros(4, 3), kind="r1")


def test_clipping_validates():
    with pytest.raises(DomainError, match="limit: expected a number > 0"):
        clip_weights(nn.Linear(1, 1), 0.0)
    with pytest.raises(DomainError, match=r"critic: expected a torch\.nn\.Module with parameters, got ReLU"):
        clip_weights(nn.ReLU())
    with pytest.raises(DomainError, match="got function"):
        clip_weights(lambda x: x)
