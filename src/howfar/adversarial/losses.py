"""The losses as pure functions of critic scores.

One convention throughout: a high score means real, every function is minimised, `real` and `fake` are
keyword-only, scores have shape (N, ...) and (M, ...). P is the data, Q the generator, d the score,
sp(d) = log(1 + exp(d)). Scores in half precision are computed on, and returned, in float32.
Every function takes the options of `Averaging`: `real_weights`, `fake_weights`, `reduction`.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from howfar._errors import ShapeError, complaint
from howfar.adversarial.scores import (
    Averaging,
    check_score_pair,
    check_scores,
    mean_score,
    reduce_fakes,
    reduce_pairs,
    reduce_two,
)
from howfar.adversarial.stable import softplus


def bce_critic(
    *, real: Tensor, fake: Tensor, real_label: float = 1.0, fake_label: float = 0.0, **averaging: Unpack[Averaging]
) -> Tensor:
    """E_P[a sp(-d) + (1 - a) sp(d)] + E_Q[b sp(-d) + (1 - b) sp(d)] with labels a = 1, b = 0.

    The binary cross-entropy of the two batches on logits, their sum and not their average (Goodfellow et al. 2014);
    labels short of 1 and 0 are smoothed ones (Salimans et al. 2016). In nats.

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.bce_critic(real=torch.zeros(4), fake=torch.zeros(2))    # 2 log 2
        tensor(1.3863)
    """
    x, y = check_score_pair(real, fake)
    return reduce_two(_cross_entropy(x, real_label), _cross_entropy(y, fake_label), **averaging)


def minimax_generator(*, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
    """-E_Q sp(d) = E_Q log(1 - D): the zero-sum generator, which saturates where the critic rejects the fakes.

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.minimax_generator(fake=torch.zeros(2))    # -log 2
        tensor(-0.6931)
    """
    return reduce_fakes(-softplus(check_scores(fake, "fake")), **averaging)


def non_saturating_generator(*, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
    """E_Q sp(-d) = -E_Q log D: slope -1 where the critic rejects the fakes, at any score (Goodfellow et al. 2014).

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.non_saturating_generator(fake=torch.tensor([-30.0]))
        tensor(30.)
    """
    return reduce_fakes(softplus(-check_scores(fake, "fake")), **averaging)


def least_squares_critic(
    *, real: Tensor, fake: Tensor, a: float = 0.0, b: float = 1.0, **averaging: Unpack[Averaging]
) -> Tensor:
    """1/2 E_P (d - b)^2 + 1/2 E_Q (d - a)^2 (Mao et al. 2017): label b for reals, a for fakes.

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.least_squares_critic(real=torch.ones(2), fake=torch.ones(2))
        tensor(0.5000)
    """
    x, y = check_score_pair(real, fake)
    return reduce_two((x - b).square() / 2, (y - a).square() / 2, **averaging)


def least_squares_generator(*, fake: Tensor, c: float = 1.0, **averaging: Unpack[Averaging]) -> Tensor:
    """1/2 E_Q (d - c)^2 (Mao et al. 2017): c is the score that the generator wants for its fakes.

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.least_squares_generator(fake=torch.zeros(2))
        tensor(0.5000)
    """
    return reduce_fakes((check_scores(fake, "fake") - c).square() / 2, **averaging)


def hinge_critic(*, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
    """E_P relu(1 - d) + E_Q relu(1 + d) (Lim and Ye 2017).

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.hinge_critic(real=torch.tensor([2.0]), fake=torch.tensor([0.5]))
        tensor(1.5000)
    """
    x, y = check_score_pair(real, fake)
    return reduce_two(torch.relu(1 - x), torch.relu(1 + y), **averaging)


def wasserstein_critic(*, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
    """E_Q d - E_P d (Arjovsky et al. 2017), so that a critic that minimises it scores the reals high.

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.wasserstein_critic(real=torch.tensor([3.0]), fake=torch.tensor([1.0]))
        tensor(-2.)
    """
    x, y = check_score_pair(real, fake)
    return reduce_two(-x, y, **averaging)


def score_generator(*, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
    """-E_Q d: the generator of the Wasserstein, hinge and energy-based objectives.

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.score_generator(fake=torch.tensor([1.0, 3.0]))
        tensor(-2.)
    """
    return reduce_fakes(-check_scores(fake, "fake"), **averaging)


def energy_critic(*, real: Tensor, fake: Tensor, margin: float = 1.0, **averaging: Unpack[Averaging]) -> Tensor:
    """E_P e + E_Q relu(margin - e) with the energy e = -d >= 0 (Zhao et al. 2017, EBGAN).

    The score is minus the energy, e.g. minus a reconstruction error, so that high still means real.

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.energy_critic(real=torch.tensor([-0.25]), fake=torch.tensor([-0.75]))
        tensor(0.5000)
    """
    x, y = check_score_pair(real, fake)
    return reduce_two(-x, torch.relu(margin + y), **averaging)


def relativistic_paired_critic(*, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
    """E sp(-(d(x) - d(y))) over the pairs (real i, fake i): N = M (Jolicoeur-Martineau 2018, RpGAN).

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.relativistic_paired_critic(real=torch.zeros(3), fake=torch.zeros(3))    # log 2
        tensor(0.6931)
    """
    x, y = check_score_pair(real, fake, paired=True)
    return reduce_pairs(softplus(y - x), **averaging)


def relativistic_paired_generator(*, fake: Tensor, real: Tensor | None, **averaging: Unpack[Averaging]) -> Tensor:
    """E sp(-(d(y) - d(x))) over the pairs (real i, fake i).

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.relativistic_paired_generator(real=torch.tensor([5.0]), fake=torch.tensor([5.0]))
        tensor(0.6931)
    """
    x, y = check_score_pair(real, fake, paired=True)
    return reduce_pairs(softplus(x - y), **averaging)


def relativistic_average_critic(*, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
    """1/2 [E_P sp(-(d - E_Q d)) + E_Q sp(d - E_P d)] (Jolicoeur-Martineau 2018, RaGAN, with the author's 1/2).

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.relativistic_average_critic(real=torch.full((3,), 7.0), fake=torch.full((2,), 7.0))
        tensor(0.6931)
    """
    x, y = check_score_pair(real, fake)
    ahead, behind = _against_the_mean(x, y, averaging)
    return reduce_two(softplus(-ahead) / 2, softplus(behind) / 2, **averaging)


def relativistic_average_generator(*, fake: Tensor, real: Tensor | None, **averaging: Unpack[Averaging]) -> Tensor:
    """1/2 [E_Q sp(-(d - E_P d)) + E_P sp(d - E_Q d)].

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.relativistic_average_generator(real=torch.zeros(3), fake=torch.zeros(2))
        tensor(0.6931)
    """
    x, y = check_score_pair(real, fake)
    ahead, behind = _against_the_mean(x, y, averaging)
    return reduce_two(softplus(ahead) / 2, softplus(-behind) / 2, **averaging)


def pulling_away(features: Tensor) -> Tensor:
    """The mean of cos^2(S_i, S_j) over i != j, in [0, 1]: 0 for orthogonal features (Zhao et al. 2017).

    Features (N, k) of a fake batch, N >= 2; the term is added to the generator's loss so that fakes differ.
    A row of zeros has no direction and is orthogonal to all others.

    Raises:
        ShapeError: features are not (N, k) with N >= 2.

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.pulling_away(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        tensor(0.5000)
    """
    s = check_scores(features, "features")
    if s.ndim != 2 or s.shape[0] < 2:
        raise ShapeError(
            complaint("features", "shape (N, k) with N >= 2", f"{tuple(s.shape)}", "Pass features.flatten(1).")
        )
    square = s.square().sum(1, keepdim=True)
    norm = torch.where(square > 0, square, 1).sqrt()
    unit = s / norm
    # |S S^T|_F = |S^T S|_F: the smaller Gram matrix does.
    gram = unit @ unit.T if s.shape[0] <= s.shape[1] else unit.T @ unit
    diagonal = unit.square().sum(1).square().sum()
    n = s.shape[0]
    return (gram.square().sum() - diagonal) / (n * (n - 1))


def _cross_entropy(scores: Tensor, label: float) -> Tensor:
    if label in (0.0, 1.0):
        return softplus(-scores if label else scores)
    return label * softplus(-scores) + (1 - label) * softplus(scores)


def _against_the_mean(real: Tensor, fake: Tensor, averaging: Averaging) -> tuple[Tensor, Tensor]:
    mean_real = mean_score(real, averaging.get("real_weights"), "real_weights")
    mean_fake = mean_score(fake, averaging.get("fake_weights"), "fake_weights")
    return real - mean_fake, fake - mean_real
