"""Mistakes that published code makes with these losses, each by the fact that it breaks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from howfar import adversarial
from howfar.adversarial import (
    FGAN,
    OBJECTIVES,
    Hinge,
    LeastSquares,
    NonSaturating,
    RelativisticAverage,
    RelativisticPaired,
    Wasserstein,
    gradient_penalty,
)

UNIT = torch.tensor([0.6, 0.8], dtype=torch.float64)


def test_a_unit_slope_pays_nothing_in_a_batch_of_64():
    """The norm belongs to a sample: over the whole batch it is sqrt(64), a penalty of 49."""
    x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    penalty = gradient_penalty(lambda z: z @ UNIT, real=x, fake=x + 1, weight=1.0)
    assert penalty.item() == pytest.approx(0, abs=1e-24)


def test_the_norm_is_over_all_axes_of_a_sample_not_over_channels():
    """A unit slope spread over 3 x 4 x 4 entries: per pixel its norm over channels is sqrt(1 / 16) = 1/4."""
    x = torch.zeros(5, 3, 4, 4, dtype=torch.float64)

    def critic(z):
        return z.sum(dim=(1, 2, 3)) / math.sqrt(48)

    assert gradient_penalty(critic, real=x, fake=x, weight=1.0).item() == pytest.approx(0, abs=1e-24)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_images_need_not_have_three_channels(channels):
    x = torch.zeros(2, channels, 3, 3)
    assert gradient_penalty(lambda z: z.flatten(1).sum(1), real=x, kind="r1", weight=2.0).item() == 9 * channels


def test_the_penalty_reaches_the_critic_and_not_the_generator():
    generator, critic = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    penalty = gradient_penalty(critic, real=torch.zeros(3, 2), fake=generator(torch.ones(3, 2)))
    penalty.backward()
    assert critic[0].weight.grad.abs().max() > 0
    assert generator.weight.grad is None


def test_one_step_of_an_optimiser_takes_loss_and_penalty_together():
    """The WGAN-GP objective is one function: its gradient is the sum of the two."""
    critic = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x, y = torch.zeros(3, 2, dtype=torch.float64), torch.ones(3, 2, dtype=torch.float64)

    def gradients(*losses):
        critic.zero_grad()
        sum(losses).backward()
        return [p.grad.clone() for p in critic.parameters() if p.grad is not None]

    def loss():
        return Wasserstein().critic(real=critic(x), fake=critic(y))

    def penalty():
        return gradient_penalty(critic, real=x, fake=y, generator=torch.Generator().manual_seed(0))

    both = gradients(loss(), penalty())
    parts = zip(gradients(loss()), gradients(penalty(), 0 * loss()), strict=True)
    for together, (first, second) in zip(both, parts, strict=True):
        torch.testing.assert_close(together, first + second)


def test_weight_ten_weighs_ten():
    """No hidden 1/2 on the Wasserstein terms that would turn a weight of 10 into 20, and R1 has StyleGAN's 1/2."""
    x, y = torch.full((4, 2), 2.0, dtype=torch.float64), torch.zeros(4, 2, dtype=torch.float64)
    steep = lambda z: 3 * z @ UNIT
    assert Wasserstein().critic(real=steep(x), fake=steep(y)).item() == pytest.approx(-3 * 2.8)
    assert gradient_penalty(steep, real=x, fake=y).item() == pytest.approx(10 * (3 - 1) ** 2)
    assert gradient_penalty(steep, real=x, kind="r1").item() == pytest.approx(10 / 2 * 9)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_the_critic_raises_reals_above_fakes(name):
    """The question asked most: with every loss minimised a high score means real."""
    game = OBJECTIVES[name].make()
    x, y = torch.randn(2, 32, 1, generator=torch.Generator().manual_seed(0)) + torch.tensor([1.0, -1.0])[:, None, None]
    critic = nn.Linear(1, 1)
    nn.init.zeros_(critic.weight)
    nn.init.zeros_(critic.bias)
    optimiser = torch.optim.SGD(critic.parameters(), lr=0.05)
    for _ in range(10):
        optimiser.zero_grad()
        game.critic(real=critic(x), fake=critic(y)).backward()
        optimiser.step()
    assert critic(x).mean() > critic(y).mean()
    fakes = y.clone().requires_grad_()
    (down,) = torch.autograd.grad(game.generator(real=critic(x), fake=critic(fakes)), fakes)
    assert (down <= 0).all(), "the generator moves its fakes to where the critic scores high"
    if name not in {"fgan:pearson", "least-squares"}:
        assert down.mean() < 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_real_and_fake_are_named_and_left_as_they_were(name):
    """Positional arguments have met both orders in one author's repositories; others overwrite their targets."""
    game = OBJECTIVES[name].make()
    x, y = torch.tensor([1.0, -2.0]), torch.tensor([0.5, -1.0])
    with pytest.raises(TypeError):
        game.critic(x, y)
    with pytest.raises(TypeError):
        game.generator(y)
    game.critic(real=x, fake=y)
    game.generator(real=x, fake=y)
    assert x.tolist() == [1.0, -2.0]
    assert y.tolist() == [0.5, -1.0]


def test_the_hinge_pushes_reals_up():
    assert Hinge().critic(real=torch.tensor([2.0]), fake=torch.tensor([-2.0])).item() == 0
    assert Hinge().critic(real=torch.tensor([-2.0]), fake=torch.tensor([2.0])).item() == 6


@pytest.mark.parametrize("score", [-20.0, -30.0, -100.0, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_non_saturating_slope_is_minus_one_where_fakes_are_rejected(score, dtype):
    """-log(sigmoid(d) + 1e-8) has the slopes -0.17 at -20 and -9e-6 at -30."""
    d = torch.tensor([score], dtype=dtype, requires_grad=True)
    (slope,) = torch.autograd.grad(NonSaturating().generator(fake=d), d)
    assert slope.item() == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize("game", [RelativisticPaired(), RelativisticAverage()], ids=repr)
def test_relativistic_generators_depend_on_the_reals(game):
    """Overwritten by the plain loss two lines later, they would not."""
    x = torch.tensor([0.3, 1.0], requires_grad=True)
    loss = game.generator(real=x, fake=torch.tensor([0.0, 0.5]))
    assert (torch.autograd.grad(loss, x)[0] > 0).all()
    moved = game.generator(real=x + 5, fake=torch.tensor([0.0, 0.5]))
    assert moved > loss + 1


def test_equal_scores_give_log_2_to_a_relativistic_critic():
    d = torch.full((5,), 1e4)
    assert RelativisticPaired().critic(real=d, fake=d).item() == pytest.approx(math.log(2))
    assert RelativisticAverage().critic(real=d, fake=d).item() == pytest.approx(math.log(2))


def test_labels_are_not_smoothed_unless_asked():
    assert NonSaturating().critic(real=torch.tensor([50.0]), fake=torch.tensor([-50.0])).item() < 1e-20


def test_the_losses_of_the_two_batches_are_summed_not_averaged():
    zero = torch.zeros(3)
    assert NonSaturating().critic(real=zero, fake=zero).item() == pytest.approx(2 * math.log(2))
    assert LeastSquares().critic(real=zero, fake=zero + 1).item() == pytest.approx(1.0)


def test_pulling_away_normalises_rows_and_leaves_out_the_diagonal():
    s = torch.tensor([[3.0, 0.0], [0.0, 0.1]])
    assert adversarial.pulling_away(s).item() == 0


def test_js_is_at_most_log_2_in_nats():
    far = {"real": torch.full((4,), 60.0), "fake": torch.full((4,), -60.0)}
    assert NonSaturating().estimate(**far).item() == pytest.approx(math.log(2))
    assert FGAN("js").estimate(**far).item() == pytest.approx(2 * math.log(2))


def test_cross_entropy_is_not_kl(gaussians):
    """The value of the BCE game is 2 log 2 - 2 JS, whatever is said of it; KL has a game of its own."""
    r = gaussians.log_ratio
    bce = NonSaturating().critic(real=r, fake=r, **gaussians.weights).item()
    kl = gaussians.kl(gaussians.p, gaussians.q)
    assert abs(bce - kl) > 0.1
    assert abs(NonSaturating().estimate(real=r, fake=r, **gaussians.weights).item() - kl) > 0.1
    v = FGAN("kl").optimal_critic(r)
    assert FGAN("kl").estimate(real=v, fake=v, **gaussians.weights).item() == pytest.approx(kl, rel=1e-9)


def test_kl_and_neyman_survive_a_tail_without_overlap():
    """By way of T or with a bare exp the loss is inf and its gradient NaN."""
    for name in ("kl", "neyman", "reverse_kl", "squared_hellinger", "jeffreys"):
        x = torch.tensor([-200.0, 300.0], requires_grad=True)
        y = torch.tensor([500.0, -400.0], requires_grad=True)
        loss = FGAN(name).critic(real=x, fake=y)
        down = torch.autograd.grad(loss, (x, y))
        assert torch.isfinite(loss)
        assert all(torch.isfinite(g).all() for g in down)
        if name != "neyman":  # its conjugate is bounded above
            assert down[1][0] > 0, "the critic still learns to lower the fake that it overrates"


def test_squared_hellinger_is_accurate_where_g_saturates():
    """T = 1 - exp(-v) is 1 to float64 at v = 40, so that T / (1 - T) would be infinite."""
    v = torch.tensor([0.0, 20.0, 40.0], dtype=torch.float64)
    form = adversarial.variational_form("squared_hellinger")
    assert form.activation(v)[2].item() == 1.0
    np.testing.assert_allclose(form.conjugate(v).numpy(), np.expm1(v.numpy()), rtol=1e-15)
