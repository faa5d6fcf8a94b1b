"""Modules equal the functions of their rows."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import howfar
from howfar import catalog

SHELLS = [s for s in vars(howfar.nn).values() if isinstance(s, type) and issubclass(s, howfar.nn.Distance)]
SHELLS = [s for s in SHELLS if s is not howfar.nn.Distance]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda s: s.__name__)
def test_a_module_equals_its_function(shell):
    row = catalog.row(shell.row)
    p, d = row.inputs == catalog.PROBABILITIES, 1 if row.inputs == catalog.ANGLES else 2
    x, y = (
        (torch.rand(3, 6).softmax(-1), torch.rand(3, 6).softmax(-1))
        if p
        else (torch.randn(3, 6, d), torch.rand(3, 5, d))
    )

    def seeded(call):
        torch.manual_seed(5)
        return call()

    value = seeded(lambda: row.function(x, y, **row.defaults))
    assert_close(seeded(lambda: shell()(x, y)), value, atol=0, rtol=0)
    assert_close(seeded(lambda: shell(reduction="mean")(x, y)), value.mean())
    assert_close(seeded(lambda: shell(reduction="sum")(x, y)), value.sum())
    assert value.shape == (3,)


def test_every_row_of_points_and_probabilities_has_a_module():
    rows = {r.name for r in catalog.rows() if r.inputs != catalog.SCORES}
    familiar = {"sinkhorn_distance", "multi_kernel_mmd"}
    assert {s.row for s in SHELLS} | familiar == rows


def test_options_are_checked_and_shown():
    with pytest.raises(howfar.UnknownName, match="Did you mean 'blur'"):
        howfar.nn.SinkhornDivergence(blurr=0.1)
    assert "blur=0.1" in repr(howfar.nn.SinkhornDivergence(blur=0.1))
    assert "eps" not in repr(howfar.nn.SinkhornDivergence(blur=0.1))
    assert howfar.nn.Wasserstein(p=1)(torch.zeros(1, 2), torch.ones(1, 2)).item() == pytest.approx(2**0.5)


def test_weights_reach_the_function():
    x, y, a = torch.randn(4, 2), torch.randn(3, 2), torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert_close(howfar.nn.Energy()(x, y, a=a), howfar.energy_distance(x, y, a=a))


def test_adversarial_modules_are_their_objectives():
    real, fake = torch.randn(8), torch.randn(8)
    for row in (r for r in catalog.rows() if r.inputs == catalog.SCORES):
        objective = row.function()
        name = row.name.removeprefix("adversarial:")
        assert_close(howfar.nn.CriticLoss(name)(real=real, fake=fake), objective.critic(real=real, fake=fake))
        generated = objective.generator(fake=fake, real=real)
        assert_close(howfar.nn.GeneratorLoss(name)(fake=fake, real=real), generated)
