"""The adversarial games: what critic and generator minimise, and what the critic then measures."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, HowfarError, complaint
from howfar.adversarial import losses
from howfar.adversarial.f_gan import (
    LOG_2,
    VariationalForm,
    f_gan_critic,
    f_gan_generator,
    variational_form,
)
from howfar.adversarial.scores import Averaging


class Objective(ABC):
    """A game between a critic, whose high score means real, and a generator; both minimise.

    Scores have shape (N, ...) for reals and (M, ...) for fakes, by one critic. The options of `critic` and
    `generator` are those of `Averaging`: `real_weights` (N,), `fake_weights` (M,), `reduction`.
    Scores are not searched for NaN, which would make the GPU wait in every step; finite scores give finite
    losses and gradients. Shapes, dtypes and devices are checked.
    """

    relativistic: ClassVar[bool] = False
    """Whether the generator's loss needs the scores of a real batch as well."""

    @abstractmethod
    def critic(self, *, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        """The critic's loss, a scalar to minimise."""

    @abstractmethod
    def generator(self, *, fake: Tensor, real: Tensor | None = None, **averaging: Unpack[Averaging]) -> Tensor:
        """The generator's loss, a scalar to minimise; `real` is used by relativistic objectives only."""

    def estimate(
        self, *, real: Tensor, fake: Tensor, real_weights: Tensor | None = None, fake_weights: Tensor | None = None
    ) -> Tensor:
        """What the critic now says the divergence is, a scalar: larger is further apart."""
        return self._divergence(self.critic(real=real, fake=fake, real_weights=real_weights, fake_weights=fake_weights))

    @abstractmethod
    def _divergence(self, loss: Tensor) -> Tensor:
        """The estimate as a function of the critic's mean loss."""

    def optimal_critic(self, log_ratio: Tensor) -> Tensor:  # noqa: ARG002
        """The score of the optimal critic where log(p/q) = `log_ratio`.

        Raises:
            HowfarError: the optimal critic is no function of log(p/q).
        """
        raise HowfarError(
            complaint(
                "log_ratio",
                "an objective whose optimal critic is a function of log(p/q)",
                f"{type(self).__name__}, whose optimum depends on P and Q as a whole",
                "Train a critic and read estimate(real=, fake=).",
            )
        )


class _Alone(Objective):
    """An objective whose generator sees fakes only."""

    def generator(self, *, fake: Tensor, real: Tensor | None = None, **averaging: Unpack[Averaging]) -> Tensor:  # noqa: ARG002
        return self._generator(fake=fake, **averaging)

    @abstractmethod
    def _generator(self, *, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor: ...


@dataclass(frozen=True)
class Minimax(_Alone):
    """Goodfellow et al. 2014, the zero-sum game: critic E_P sp(-d) + E_Q sp(d), generator -E_Q sp(d).

    estimate: log 2 - critic / 2, a lower bound on JS(P, Q) in nats, tight at d = log(p/q); at most log 2.

    Example:
        >>> import torch; from howfar import adversarial
        >>> game = adversarial.Minimax()
        >>> game.estimate(real=torch.tensor([9.0]), fake=torch.tensor([-9.0]))    # almost log 2
        tensor(0.6930)
    """

    def critic(self, *, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.bce_critic(real=real, fake=fake, **averaging)

    def _generator(self, *, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.minimax_generator(fake=fake, **averaging)

    def _divergence(self, loss: Tensor) -> Tensor:
        return LOG_2 - loss / 2

    def optimal_critic(self, log_ratio: Tensor) -> Tensor:
        return log_ratio


@dataclass(frozen=True)
class NonSaturating(_Alone):
    """The binary cross-entropy game: critic E_P sp(-d) + E_Q sp(d), generator E_Q sp(-d) (Goodfellow et al. 2014).

    `label_smoothing` s gives the reals the label 1 - s, and, when `two_sided`, the fakes the label s
    (Salimans et al. 2016 advise one side). The generator's label stays 1. Also known as `BCE` and `Logistic`.

    estimate: H((a + b) / 2) - critic / 2 with labels a, b and the binary entropy H: the information that a sample
    gives about its label, in nats, as a lower bound. Without smoothing that is JS(P, Q); 0 where P = Q either way.

    Raises:
        DomainError: label_smoothing outside [0, 1/2).

    Example:
        >>> import torch; from howfar import adversarial
        >>> game = adversarial.NonSaturating()
        >>> game.critic(real=torch.zeros(3), fake=torch.zeros(3))    # 2 log 2
        tensor(1.3863)
        >>> game.generator(fake=torch.tensor([-30.0]))
        tensor(30.)
    """

    label_smoothing: float = 0.0
    two_sided: bool = False

    def __post_init__(self) -> None:
        if _checks.check_number(self.label_smoothing, "label_smoothing", least=0.0) >= 0.5:
            fix = "Pass e.g. 0.1; at 1/2 the labels say nothing."
            raise DomainError(complaint("label_smoothing", "a number in [0, 0.5)", f"{self.label_smoothing:g}", fix))

    @property
    def labels(self) -> tuple[float, float]:
        """The labels of reals and fakes."""
        return 1.0 - self.label_smoothing, self.label_smoothing if self.two_sided else 0.0

    def critic(self, *, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        real_label, fake_label = self.labels
        return losses.bce_critic(real=real, fake=fake, real_label=real_label, fake_label=fake_label, **averaging)

    def _generator(self, *, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.non_saturating_generator(fake=fake, **averaging)

    def _divergence(self, loss: Tensor) -> Tensor:
        positive = sum(self.labels) / 2
        entropy = -positive * math.log(positive) - (1 - positive) * math.log1p(-positive)
        return entropy - loss / 2

    def optimal_critic(self, log_ratio: Tensor) -> Tensor:
        if not self.label_smoothing:
            return log_ratio
        a, b = self.labels
        return _log_mix(a, b, log_ratio) - _log_mix(1 - a, 1 - b, log_ratio)


BCE = NonSaturating
Logistic = NonSaturating


@dataclass(frozen=True)
class LeastSquares(_Alone):
    """LSGAN (Mao et al. 2017): critic 1/2 E_P (d - b)^2 + 1/2 E_Q (d - a)^2, generator 1/2 E_Q (d - c)^2.

    estimate: 2 - 8 critic / (b - a)^2, a lower bound on int (p - q)^2 / (p + q), the triangular discrimination,
    which has no unit and is at most 2; tight at d = (b p + a q) / (p + q).
    (a, b, c) = (-1, 1, 0) makes the generator's game that divergence, the paper's chi^2(P + Q || 2 Q).

    Raises:
        DomainError: a = b, or a label that is not finite.

    Example:
        >>> import torch; from howfar import adversarial
        >>> game = adversarial.LeastSquares()
        >>> game.estimate(real=torch.ones(3), fake=torch.zeros(3))    # told apart without error
        tensor(2.)
    """

    a: float = 0.0
    b: float = 1.0
    c: float = 1.0

    def __post_init__(self) -> None:
        for name in ("a", "b", "c"):
            _checks.check_number(getattr(self, name), name)
        if self.a == self.b:
            raise DomainError(complaint("a", f"a label other than b = {self.b:g}", f"{self.a:g}", "Pass a=0, b=1."))

    def critic(self, *, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.least_squares_critic(real=real, fake=fake, a=self.a, b=self.b, **averaging)

    def _generator(self, *, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.least_squares_generator(fake=fake, c=self.c, **averaging)

    def _divergence(self, loss: Tensor) -> Tensor:
        return 2 - 8 * loss / (self.b - self.a) ** 2

    def optimal_critic(self, log_ratio: Tensor) -> Tensor:
        return self.a + (self.b - self.a) * torch.sigmoid(log_ratio)


@dataclass(frozen=True)
class Hinge(_Alone):
    """Lim and Ye 2017: critic E_P relu(1 - d) + E_Q relu(1 + d), generator -E_Q d.

    estimate: 1 - critic / 2, a lower bound on TV(P, Q) = 1/2 int |p - q|, at most 1; tight at d = sign(p - q).
    A critic with scores beyond -1 and 1 that errs may push it below 0.

    Example:
        >>> import torch; from howfar import adversarial
        >>> game = adversarial.Hinge()
        >>> game.estimate(real=torch.ones(2), fake=-torch.ones(2))
        tensor(1.)
    """

    def critic(self, *, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.hinge_critic(real=real, fake=fake, **averaging)

    def _generator(self, *, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.score_generator(fake=fake, **averaging)

    def _divergence(self, loss: Tensor) -> Tensor:
        return 1 - loss / 2

    def optimal_critic(self, log_ratio: Tensor) -> Tensor:
        return torch.sign(log_ratio)


@dataclass(frozen=True)
class Wasserstein(_Alone):
    """Arjovsky et al. 2017: critic E_Q d - E_P d, generator -E_Q d.

    estimate: E_P d - E_Q d. It is a lower bound on W_1(P, Q), in the units of the data, only for a critic of slope
    at most 1. Weight clipping gives an unknown multiple of it (`calibrated_wasserstein` divides by the slope), and
    the two-sided penalty lets the slope pass 1: for point masses D apart and weight w it ends at D + D^2 / (2 w).

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.Wasserstein().estimate(real=torch.tensor([3.0]), fake=torch.tensor([1.0]))
        tensor(2.)
    """

    def critic(self, *, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.wasserstein_critic(real=real, fake=fake, **averaging)

    def _generator(self, *, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.score_generator(fake=fake, **averaging)

    def _divergence(self, loss: Tensor) -> Tensor:
        return -loss


@dataclass(frozen=True)
class EnergyBased(_Alone):
    """EBGAN (Zhao et al. 2017): critic E_P e + E_Q relu(margin - e), generator E_Q e, with the energy e = -d >= 0.

    The score is minus the energy (minus a reconstruction error, say), so that high still means real.
    `pulling_away` is the paper's term for diverse fakes.

    estimate: 1 - critic / margin, a lower bound on TV(P, Q), at most 1; tight at d = 0 where p > q and -margin
    elsewhere. Scores above 0 are no energies, and void it.

    Raises:
        DomainError: margin is not positive.

    Example:
        >>> import torch; from howfar import adversarial
        >>> game = adversarial.EnergyBased(margin=2.0)
        >>> game.estimate(real=torch.zeros(2), fake=torch.full((2,), -2.0))
        tensor(1.)
    """

    margin: float = 1.0

    def __post_init__(self) -> None:
        _checks.check_positive(self.margin, "margin", unit="energy")

    def critic(self, *, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.energy_critic(real=real, fake=fake, margin=self.margin, **averaging)

    def _generator(self, *, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.score_generator(fake=fake, **averaging)

    def _divergence(self, loss: Tensor) -> Tensor:
        return 1 - loss / self.margin

    def optimal_critic(self, log_ratio: Tensor) -> Tensor:
        return torch.where(log_ratio > 0, 0.0, -self.margin).to(log_ratio.dtype)


@dataclass(frozen=True)
class RelativisticPaired(Objective):
    """RpGAN (Jolicoeur-Martineau 2018): critic E sp(-(d(x) - d(y))), generator E sp(-(d(y) - d(x))), on pairs.

    Batches have equal sizes, and real i meets fake i.

    estimate: log 2 - critic, a lower bound in nats on JS(P x Q, Q x P), the divergence between (real, fake) and
    (fake, real) pairs, at most log 2; tight at d = log(p/q), plus any constant.

    Example:
        >>> import torch; from howfar import adversarial
        >>> game = adversarial.RelativisticPaired()
        >>> game.critic(real=torch.full((4,), 7.0), fake=torch.full((4,), 7.0))    # log 2
        tensor(0.6931)
    """

    relativistic: ClassVar[bool] = True

    def critic(self, *, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.relativistic_paired_critic(real=real, fake=fake, **averaging)

    def generator(self, *, fake: Tensor, real: Tensor | None = None, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.relativistic_paired_generator(fake=fake, real=real, **averaging)

    def _divergence(self, loss: Tensor) -> Tensor:
        return LOG_2 - loss

    def optimal_critic(self, log_ratio: Tensor) -> Tensor:
        return log_ratio


@dataclass(frozen=True)
class RelativisticAverage(Objective):
    """RaGAN (Jolicoeur-Martineau 2018): critic 1/2 [E_P sp(-(d - E_Q d)) + E_Q sp(d - E_P d)], generator mirrored.

    estimate: log 2 - critic, a lower bound in nats on the relativistic average divergence (Jolicoeur-Martineau
    2020), which is 0 where P = Q and at most log 2; its optimal critic has no closed form. Means over a batch stand
    for expectations, so small batches bias it.

    Example:
        >>> import torch; from howfar import adversarial
        >>> game = adversarial.RelativisticAverage()
        >>> game.estimate(real=torch.full((4,), 7.0), fake=torch.full((4,), 7.0))
        tensor(0.)
    """

    relativistic: ClassVar[bool] = True

    def critic(self, *, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.relativistic_average_critic(real=real, fake=fake, **averaging)

    def generator(self, *, fake: Tensor, real: Tensor | None = None, **averaging: Unpack[Averaging]) -> Tensor:
        return losses.relativistic_average_generator(fake=fake, real=real, **averaging)

    def _divergence(self, loss: Tensor) -> Tensor:
        return LOG_2 - loss


@dataclass(frozen=True)
class FGAN(_Alone):
    """f-GAN (Nowozin et al. 2016): critic E_Q f*(g(v)) - E_P g(v), generator -E_Q f*(g(v)).

    `name` is a row of the table in `f_gan.py`: "kl", "reverse_kl", "pearson", "neyman", "squared_hellinger", "js",
    "gan", "tv", "jeffreys", "weighted_js" (needs `pi`, the weight of the data), "alpha" (needs `alpha`).
    `non_saturating` makes the generator minimise -E_Q g(v), the paper's heuristic for a critic that has won.
    Exponentials are continued by their tangent, beyond 7e12 in float32 and 1e102 in float64, so that finite scores
    give finite losses and gradients that still lead back.

    estimate: -critic, a lower bound on D_f(P || Q), the data first, tight at T = f'(p/q). Mind the paper's
    scales: "js" is 2 JS, "gan" is 2 JS - 2 log 2, "squared_hellinger" has no 1/2.

    Raises:
        UnknownName: no row has this name.
        DomainError: a parameter is missing, out of its domain, or not one of this row.

    Example:
        >>> import torch; from howfar import adversarial
        >>> game = adversarial.FGAN("reverse_kl")
        >>> game.generator(fake=torch.tensor([3.0]))
        tensor(-2.)
        >>> adversarial.FGAN("alpha", alpha=2.0).form.divergence
        'int (p^a q^(1 - a) - q) / (a (a - 1)), a = 2'
    """

    name: str
    alpha: float | None = None
    pi: float | None = None
    non_saturating: bool = False

    def __post_init__(self) -> None:
        variational_form(self.name, alpha=self.alpha, pi=self.pi)

    @property
    def form(self) -> VariationalForm:
        """The row of the table."""
        return variational_form(self.name, alpha=self.alpha, pi=self.pi)

    def critic(self, *, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return f_gan_critic(self.form, real=real, fake=fake, **averaging)

    def _generator(self, *, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
        return f_gan_generator(self.form, fake=fake, non_saturating=self.non_saturating, **averaging)

    def _divergence(self, loss: Tensor) -> Tensor:
        return -loss

    def optimal_critic(self, log_ratio: Tensor) -> Tensor:
        return self.form.optimum(log_ratio)


def _log_mix(a: float, b: float, log_ratio: Tensor) -> Tensor:
    """log(a p + b q) - log q."""
    left = log_ratio + math.log(a)
    return torch.logaddexp(left, left.new_tensor(math.log(b))) if b else left
