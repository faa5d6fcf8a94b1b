"""The smallest game: data at 0, the generator a point theta, the critic d(x) = psi x (Mescheder et al. 2018).

Its dynamics are known in closed form, so a wrong sign or a wrong factor of any loss shows.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from howfar.adversarial import FGAN, Hinge, Minimax, NonSaturating, RelativisticPaired, Wasserstein, gradient_penalty


def field(game, theta, psi, *, kind=None, weight=0.0, target=1.0, mix=0.3):
    """(d theta / dt, d psi / dt): the descent directions of the two losses, with a graph."""
    real = torch.zeros(1, dtype=torch.float64)
    loss = game.critic(real=psi * real, fake=psi * theta.detach())
    if kind is not None:
        options = {"target": target} if kind in {"two-sided", "one-sided"} else {}
        loss = loss + gradient_penalty(
            lambda x: psi * x, real=real, fake=theta.detach() * mix, kind=kind, weight=weight, **options
        )
    generator = game.generator(real=psi.detach() * real, fake=psi.detach() * theta)
    (down_psi,) = torch.autograd.grad(loss, psi, create_graph=True)
    (down_theta,) = torch.autograd.grad(generator, theta, create_graph=True)
    return -down_theta, -down_psi


def directions(game, theta, psi, **penalty):
    """The field as a function of the pair, numerically."""
    point = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (theta, psi)]
    return np.array([v.item() for v in field(game, *point, **penalty)])


def eigenvalues(game, **penalty):
    """Of the Jacobian at the equilibrium (0, 0)."""
    h = 1e-5
    columns = [
        (directions(game, *step, **penalty) - directions(game, -step[0], -step[1], **penalty)) / (2 * h)
        for step in ((h, 0.0), (0.0, h))
    ]
    return np.sort_complex(np.linalg.eigvals(np.stack(columns, axis=1)))


def radius_after(game, steps, rate=0.1, clip=None, **penalty):
    """The distance from the equilibrium after simultaneous steps of gradient descent from (1, 1)."""
    theta, psi = 1.0, 1.0
    for _ in range(steps):
        down = directions(game, theta, psi, **penalty)
        theta, psi = theta + rate * down[0], psi + rate * down[1]
        if clip is not None:
            psi = min(max(psi, -clip), clip)
    return math.hypot(theta, psi)


@pytest.mark.parametrize(
    ("game", "speed"),
    [
        (Minimax(), 0.5),
        (NonSaturating(), 0.5),
        (RelativisticPaired(), 0.5),
        (Wasserstein(), 1.0),
        (Hinge(), 1.0),
        (FGAN("reverse_kl"), 1.0),
        (FGAN("pearson"), 1.0),
        (FGAN("gan"), 0.5),
        (FGAN("tv"), 0.5),
        (FGAN("squared_hellinger"), 1.0),
        (FGAN("jeffreys"), 1.0),
    ],
    ids=repr,
)
def test_without_a_penalty_the_eigenvalues_are_imaginary(game, speed):
    expected = [-1j * speed, 1j * speed]
    np.testing.assert_allclose(eigenvalues(game), expected, atol=1e-8)


@pytest.mark.parametrize("kind", ["r1", "r2", "zero"])
@pytest.mark.parametrize("gamma", [0.2, 1.0, 3.0])
@pytest.mark.parametrize("game", [Minimax(), NonSaturating()], ids=repr)
def test_zero_centred_penalties_move_them_to_the_left(kind, gamma, game):
    weight = gamma / 2 if kind == "zero" else gamma
    root = np.emath.sqrt(gamma**2 / 4 - 0.25)
    expected = np.sort_complex(np.array([-gamma / 2 - root, -gamma / 2 + root], dtype=complex))
    # At gamma = 1 the two coincide, and a double eigenvalue moves with the root of the rounding error.
    tolerance = 1e-4 if gamma == 1.0 else 1e-8
    found = eigenvalues(game, kind=kind, weight=weight)
    np.testing.assert_allclose(found.real, expected.real, atol=tolerance)
    np.testing.assert_allclose(np.sort(found.imag), np.sort(expected.imag), atol=tolerance)


def test_the_critical_gamma_is_one():
    assert np.abs(eigenvalues(Minimax(), kind="r1", weight=0.99).imag).max() > 0.05
    assert np.abs(eigenvalues(Minimax(), kind="r1", weight=1.01).imag).max() == 0


def test_the_zero_sum_game_conserves_the_radius_and_the_other_creeps_in():
    for theta, psi in np.random.default_rng(0).normal(size=(20, 2)):
        product = theta * psi
        minimax = directions(Minimax(), theta, psi) @ (theta, psi)
        assert minimax == pytest.approx(0, abs=1e-14)
        heuristic = directions(NonSaturating(), theta, psi) @ (theta, psi)
        assert heuristic == pytest.approx(-product * math.tanh(product / 2), rel=1e-10)
        assert directions(Wasserstein(), theta, psi) @ (theta, psi) == pytest.approx(0, abs=1e-14)


def test_explicit_steps_diverge_without_and_converge_with_r1():
    start = math.sqrt(2)
    assert radius_after(Minimax(), 300) > 1.3 * start
    assert radius_after(Wasserstein(), 100) > 1.5 * start
    assert radius_after(NonSaturating(), 300, kind="r1", weight=1.0) < 1e-4
    assert radius_after(Wasserstein(), 300, kind="r1", weight=1.0) < 1e-4
    assert radius_after(Wasserstein(), 300, kind="r2", weight=1.0) < 1e-4
    assert radius_after(Wasserstein(), 300, kind="zero", weight=0.5) < 1e-4


def test_clipping_and_the_two_sided_penalty_do_not_converge():
    late = [radius_after(Wasserstein(), steps, clip=0.5) for steps in range(300, 340, 5)]
    assert max(late) > 0.3
    late = [radius_after(Wasserstein(), steps, kind="two-sided", weight=1.0) for steps in range(300, 340, 5)]
    assert max(late) > 0.3
