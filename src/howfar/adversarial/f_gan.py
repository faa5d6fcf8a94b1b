"""The variational form of every f-divergence (Nowozin, Cseke, Tomioka 2016), on one convention.

D_f(P || Q) = E_Q f(p/q) is the largest value of E_P T - E_Q f*(T) over functions T with values in the domain
of the conjugate f*. T = g(v) maps an unconstrained score v into that domain, and every g here increases, so that
a high score means real. Both T and f*(T) are computed from v directly: f*(g(v)) by way of T loses all digits
where g saturates. The conjugate is that of f on ratios u >= 0, and therefore never decreases: a generator is
never rewarded for a lower score.

Divergences are in nats except where the formula has no logarithm, and P is the data: "kl" is KL(data || model).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, complaint, unknown_name
from howfar.adversarial import stable
from howfar.adversarial.scores import Averaging, check_score_pair, check_scores, reduce_fakes, reduce_two

LOG_2 = math.log(2.0)

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class VariationalForm:
    """One f-divergence as a game.

    Attributes:
        name: the key of the table.
        divergence: the integral it stands for.
        f: the convex function of the ratio u = p/q, with f(1) = 0 unless `divergence` says otherwise.
        activation: v -> T = g(v).
        conjugate: v -> f*(g(v)).
        optimum: log(p/q) -> the v for which T = f'(p/q) and the bound is tight.
        supremum: least upper bound of T, the edge of the domain of f*.
    """

    name: str
    divergence: str
    f: Map
    activation: Map
    conjugate: Map
    optimum: Map
    supremum: float


def _u_log_u(u: Tensor) -> Tensor:
    return torch.xlogy(u, u)


def _same(v: Tensor) -> Tensor:
    return v


def _half_tanh(v: Tensor) -> Tensor:
    return torch.tanh(v) / 2


_FORMS = (
    VariationalForm(
        "kl",
        "int p log(p/q)",
        f=_u_log_u,
        activation=_same,
        conjugate=lambda v: stable.exp(v - 1),
        optimum=lambda r: 1 + r,
        supremum=math.inf,
    ),
    VariationalForm(
        "reverse_kl",
        "int q log(q/p)",
        f=lambda u: -torch.log(u),
        activation=lambda v: -stable.exp(-v),
        conjugate=lambda v: v - 1,
        optimum=_same,
        supremum=0.0,
    ),
    VariationalForm(
        "pearson",
        "int (p - q)^2 / q",
        f=lambda u: (u - 1).square(),
        activation=_same,
        conjugate=lambda v: torch.relu(1 + v / 2).square() - 1,
        optimum=lambda r: 2 * torch.expm1(r),
        supremum=math.inf,
    ),
    VariationalForm(
        "neyman",
        "int (p - q)^2 / p",
        f=lambda u: (1 - u).square() / u,
        activation=lambda v: -stable.expm1(-v),
        conjugate=lambda v: -2 * stable.expm1(-v / 2),
        optimum=lambda r: 2 * r,
        supremum=1.0,
    ),
    VariationalForm(
        "squared_hellinger",
        "int (sqrt p - sqrt q)^2",
        f=lambda u: (u.sqrt() - 1).square(),
        activation=lambda v: -stable.expm1(-v),
        conjugate=stable.expm1,
        optimum=lambda r: r / 2,
        supremum=1.0,
    ),
    VariationalForm(
        "js",
        "2 JS(p, q), at most 2 log 2",
        f=lambda u: _u_log_u(u) - (u + 1) * torch.log((u + 1) / 2),
        activation=lambda v: LOG_2 - stable.softplus(-v),
        conjugate=lambda v: stable.softplus(v) - LOG_2,
        optimum=_same,
        supremum=LOG_2,
    ),
    VariationalForm(
        "gan",
        "2 JS(p, q) - 2 log 2, so -2 log 2 where p = q",
        f=lambda u: _u_log_u(u) - (u + 1) * torch.log(u + 1),
        activation=lambda v: -stable.softplus(-v),
        conjugate=stable.softplus,
        optimum=_same,
        supremum=0.0,
    ),
    VariationalForm(
        "tv",
        "1/2 int |p - q|",
        f=lambda u: (u - 1).abs() / 2,
        activation=_half_tanh,
        conjugate=_half_tanh,
        optimum=lambda r: torch.where(r > 0, math.inf, -math.inf).to(r.dtype),
        supremum=0.5,
    ),
    VariationalForm(
        "jeffreys",
        "int (p - q) log(p/q)",
        f=lambda u: (u - 1) * torch.log(u),
        activation=_same,
        conjugate=lambda v: _jeffreys_conjugate(stable.jeffreys_log_ratio(v)),
        optimum=lambda r: r - torch.expm1(-r),
        supremum=math.inf,
    ),
)


def _jeffreys_conjugate(log_ratio: Tensor) -> Tensor:
    """u f'(u) - f(u) = u - 1 + log u."""
    return stable.expm1(log_ratio) + log_ratio


def _weighted_js(pi: float) -> VariationalForm:
    """T = pi log(sigmoid(v) / pi): the critic is the classifier whose classes have the prior pi, 1 - pi."""
    return VariationalForm(
        "weighted_js",
        f"pi KL(p || m) + (1 - pi) KL(q || m), m = pi p + (1 - pi) q, pi = {pi:g}",
        f=lambda u: pi * _u_log_u(u) - (1 - pi + pi * u) * torch.log(1 - pi + pi * u),
        activation=lambda v: -pi * (math.log(pi) + stable.softplus(-v)),
        conjugate=lambda v: (1 - pi) * (math.log(1 - pi) + stable.softplus(v)),
        optimum=lambda r: r + math.log(pi / (1 - pi)),
        supremum=-pi * math.log(pi),
    )


def _alpha(a: float) -> VariationalForm:
    """f* = (u^a - 1) / a with u^(a - 1) = 1 + (a - 1) T, which has to stay positive."""

    def f(u: Tensor) -> Tensor:
        return (u.pow(a) - 1 - a * (u - 1)) / (a * (a - 1))

    power = a / (a - 1)
    divergence = f"int (p^a q^(1 - a) - q) / (a (a - 1)), a = {a:g}"
    if a > 1:

        def above(v: Tensor) -> Tensor:
            base = 1 + (a - 1) * v
            log_base = torch.log(base.clamp(min=torch.finfo(v.dtype).tiny))
            return stable.expm1(power * log_base) / a

        return VariationalForm(
            "alpha", divergence, f, _same, above, lambda r: torch.expm1((a - 1) * r) / (a - 1), math.inf
        )

    def below(v: Tensor) -> Tensor:
        return stable.expm1(power * (math.log(1 - a) + stable.log_softplus(-v))) / a

    def optimum(r: Tensor) -> Tensor:
        s = torch.exp((a - 1) * r) / (1 - a)
        return -s - torch.log(-torch.expm1(-s))

    edge = 1 / (1 - a)
    return VariationalForm("alpha", divergence, f, lambda v: edge - stable.softplus(-v), below, optimum, edge)


VARIATIONAL_FORMS: dict[str, VariationalForm] = {form.name: form for form in _FORMS}
"""The divergences without a parameter; "alpha" and "weighted_js" are made by `variational_form`."""

NAMES: tuple[str, ...] = (*VARIATIONAL_FORMS, "weighted_js", "alpha")


def variational_form(name: str, *, alpha: float | None = None, pi: float | None = None) -> VariationalForm:
    """The row of the table by its name; "alpha" needs alpha, "weighted_js" needs pi.

    Raises:
        UnknownName: no divergence has this name.
        DomainError: a parameter is missing, out of its domain, or given to a divergence that has none.

    Example:
        >>> import torch; from howfar import adversarial
        >>> form = adversarial.variational_form("kl")
        >>> form.activation(form.optimum(torch.zeros(1)))    # f'(1)
        tensor([1.])
    """
    if name not in NAMES:
        raise unknown_name("name", name, NAMES)
    for parameter, given, owner in (("alpha", alpha, "alpha"), ("pi", pi, "weighted_js")):
        if (given is not None) != (name == owner):
            expected = "a number" if name == owner else f"None for {name!r}"
            fix = f'Pass FGAN("{owner}", {parameter}=0.5).' if name == owner else f"Leave {parameter} out."
            raise DomainError(complaint(parameter, expected, repr(given), fix))
    if name == "alpha":
        a = _checks.check_number(alpha, "alpha")
        if a in (0.0, 1.0):
            limit = "reverse_kl" if a == 0 else "kl"
            raise DomainError(complaint("alpha", "a number other than 0 and 1", f"{a:g}", f'Use FGAN("{limit}").'))
        return _alpha(a)
    if name == "weighted_js":
        weight = _checks.check_positive(pi, "pi")
        if weight >= 1:
            raise DomainError(complaint("pi", "a weight of the data in (0, 1)", f"{weight:g}", "Pass e.g. pi=0.5."))
        return _weighted_js(weight)
    return VARIATIONAL_FORMS[name]


def f_gan_critic(form: VariationalForm, *, real: Tensor, fake: Tensor, **averaging: Unpack[Averaging]) -> Tensor:
    """E_Q f*(g(v)) - E_P g(v): minus a lower bound on D_f(P || Q).

    Example:
        >>> import torch; from howfar import adversarial
        >>> form = adversarial.variational_form("pearson")
        >>> adversarial.f_gan_critic(form, real=torch.tensor([2.0]), fake=torch.tensor([0.0]))
        tensor(-2.)
    """
    x, y = check_score_pair(real, fake)
    return reduce_two(-form.activation(x), form.conjugate(y), **averaging)


def f_gan_generator(
    form: VariationalForm,
    *,
    fake: Tensor,
    non_saturating: bool = False,
    **averaging: Unpack[Averaging],
) -> Tensor:
    """-E_Q f*(g(v)), or -E_Q g(v) when `non_saturating` (the heuristic of the paper's section 3.2).

    Example:
        >>> import torch; from howfar import adversarial
        >>> adversarial.f_gan_generator(adversarial.variational_form("reverse_kl"), fake=torch.tensor([3.0]))
        tensor(-2.)
    """
    v = check_scores(fake, "fake")
    terms = -form.activation(v) if non_saturating else -form.conjugate(v)
    return reduce_fakes(terms, **averaging)
