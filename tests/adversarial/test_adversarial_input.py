"""Bad scores and bad options: one error, which names the argument."""

from __future__ import annotations

import math

import pytest
import torch

from howfar import adversarial
from howfar._errors import DomainError, ShapeError, UnknownName
from howfar.adversarial import FGAN, OBJECTIVES, EnergyBased, LeastSquares, NonSaturating, RelativisticPaired

GAMES = [row.make() for row in OBJECTIVES.values()]

BAD_PAIRS = [
    ({"real": torch.zeros(4, 1), "fake": torch.zeros(4)}, ShapeError, r"fake: expected shape \(N, 1\).*broadcast"),
    ({"real": torch.zeros(4), "fake": torch.zeros(4, 1)}, ShapeError, r"fake: expected shape \(N,\)"),
    ({"real": torch.zeros(4, 2, 2), "fake": torch.zeros(4, 2, 3)}, ShapeError, r"fake: expected shape \(N, 2, 2\)"),
    ({"real": torch.tensor(1.0), "fake": torch.zeros(4)}, ShapeError, r"real: expected one score per sample.*squeeze"),
    ({"real": torch.zeros(4), "fake": torch.tensor(1.0)}, ShapeError, "fake: expected one score per sample"),
    ({"real": torch.zeros(0), "fake": torch.zeros(4)}, ShapeError, "real: expected at least one score"),
    ({"real": torch.zeros(4), "fake": torch.zeros(0)}, ShapeError, "fake: expected at least one score"),
    ({"real": torch.zeros(4), "fake": torch.zeros(4).double()}, DomainError, "fake: expected dtype torch.float32"),
    ({"real": torch.zeros(4), "fake": torch.zeros(4).bfloat16()}, DomainError, "fake: expected dtype torch.float32"),
    ({"real": torch.zeros(4), "fake": torch.zeros(4, device="meta")}, DomainError, "fake: expected a tensor on cpu"),
    ({"real": torch.zeros(4), "fake": "scores"}, DomainError, "fake: expected numbers"),
]


@pytest.mark.parametrize(("given", "error", "message"), BAD_PAIRS, ids=range(len(BAD_PAIRS)))
@pytest.mark.parametrize("game", GAMES, ids=repr)
def test_scores_that_do_not_fit_raise_in_every_objective(game, given, error, message):
    for loss in (game.critic, game.estimate):
        with pytest.raises(error, match=message):
            loss(**given)
    if game.relativistic:
        with pytest.raises(error, match=message):
            game.generator(**given)


@pytest.mark.parametrize("game", GAMES, ids=repr)
def test_unequal_batches_are_fine_unless_paired(game):
    given = {"real": torch.zeros(4), "fake": torch.zeros(3)}
    if isinstance(game, RelativisticPaired):
        for loss in (game.critic, game.generator, game.estimate):
            with pytest.raises(ShapeError, match="fake: expected 4 scores, as many as real has, got 3"):
                loss(**given)
    else:
        assert torch.isfinite(game.critic(**given))
        with pytest.raises(ShapeError, match='reduction: expected "mean" or "sum"'):
            game.critic(**given, reduction="none")


@pytest.mark.parametrize("game", [game for game in GAMES if game.relativistic], ids=repr)
def test_a_relativistic_generator_asks_for_the_reals(game):
    with pytest.raises(DomainError, match=r"real: expected the critic's scores of a real batch, got None"):
        game.generator(fake=torch.zeros(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"real_weights": torch.ones(3)}, r"real_weights: expected shape \(4,\)"),
        ({"fake_weights": torch.ones(4, 1)}, r"fake_weights: expected shape \(4,\)"),
        ({"fake_weights": torch.tensor([1.0, -1.0, 1.0, 1.0])}, "fake_weights: expected weights >= 0"),
        ({"fake_weights": torch.zeros(4)}, "fake_weights: expected a positive total mass"),
        ({"real_weights": torch.tensor([1.0, math.nan, 1.0, 1.0])}, "real_weights: expected finite numbers"),
        ({"reduction": "average"}, "reduction: expected one of mean, none, sum, got 'average'"),
    ],
)
@pytest.mark.parametrize("game", GAMES, ids=repr)
def test_bad_weights_and_reductions(game, options, message):
    with pytest.raises((ShapeError, DomainError, UnknownName), match=message):
        game.critic(real=torch.zeros(4), fake=torch.zeros(4), **options)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: NonSaturating(label_smoothing=0.5), DomainError, r"label_smoothing: expected a number in \[0, 0.5\)"),
        (lambda: NonSaturating(label_smoothing=-0.1), DomainError, "label_smoothing: expected a number >= 0"),
        (lambda: LeastSquares(a=1.0), DomainError, "a: expected a label other than b = 1"),
        (lambda: LeastSquares(c=math.nan), DomainError, "c: expected a finite number"),
        (lambda: EnergyBased(margin=0.0), DomainError, "margin: expected a number > 0"),
        (lambda: FGAN("reverse-kl"), UnknownName, "Did you mean 'reverse_kl'"),
        (lambda: FGAN("alpha"), DomainError, r"alpha: expected a number, got None.*alpha=0\.5"),
        (lambda: FGAN("kl", alpha=0.5), DomainError, "alpha: expected None for 'kl', got 0.5"),
        (lambda: FGAN("alpha", alpha=1.0), DomainError, r'alpha: .* Use FGAN\("kl"\)'),
        (lambda: FGAN("alpha", alpha=0.0), DomainError, r'alpha: .* Use FGAN\("reverse_kl"\)'),
        (lambda: FGAN("weighted_js"), DomainError, "pi: expected a number, got None"),
        (lambda: FGAN("weighted_js", pi=1.0), DomainError, r"pi: expected a weight of the data in \(0, 1\), got 1"),
        (lambda: adversarial.objective("wasserstien"), UnknownName, "Did you mean 'wasserstein'"),
        (lambda: adversarial.objective("hinge", margin=2.0), DomainError, "options: expected options of 'hinge'"),
    ],
)
def test_bad_objectives(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_features_for_the_pulling_away_term():
    for shape in ((1, 3), (4,), (2, 3, 4)):
        with pytest.raises(ShapeError, match=r"features: expected shape \(N, k\)"):
            adversarial.pulling_away(torch.zeros(shape))


def test_what_is_public_is_documented():
    for name in adversarial.__all__:
        if name not in {"OBJECTIVES", "PENALTIES"}:
            assert ">>>" in getattr(adversarial, name).__doc__ or name in {"Objective", "Row", "VariationalForm"}, name
