"""The public functions: f-divergences by name, of probabilities, logits or `torch.distributions`.

Every number is in nats or has no unit; natural logarithms throughout. Of tensors the result is a tensor
(...), differentiable twice in both arguments; of distributions it is an `Estimate`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast, overload

import torch
import torch.distributions as td
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, complaint
from howfar.f_divergences import discrete, distributions
from howfar.f_divergences.generators import GENERATORS, Generator, generator_of
from howfar.f_divergences.generators import alpha as generator_of_order
from howfar.results import Estimate

DRAWS = 10_000
"""Draws from each side where nothing but sampling is left: two to three digits of a bounded divergence."""


class Divergence(Protocol):
    """A divergence of two distributions."""

    @overload
    def __call__(
        self,
        p: td.Distribution,
        q: td.Distribution,
        *,
        n_samples: int = DRAWS,
        level: float = 0.95,
        generator: torch.Generator | None = None,
    ) -> Estimate: ...

    @overload
    def __call__(self, p: Any, q: Any, *, from_logits: bool = False) -> Tensor: ...


def _typed(function: Callable[..., Tensor | Estimate]) -> Divergence:
    return cast("Divergence", function)


@overload
def f_divergence(
    p: td.Distribution,
    q: td.Distribution,
    divergence: str | Generator,
    *,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Estimate: ...


@overload
def f_divergence(p: Any, q: Any, divergence: str | Generator, *, from_logits: bool = False) -> Tensor: ...


def f_divergence(
    p: Any,
    q: Any,
    divergence: str | Generator,
    *,
    from_logits: bool = False,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Any:
    """The f-divergence sum q f(p / q) of a named or given generator (Csiszár 1967; Ali and Silvey 1966).

    Zeros have their value: 0 log 0 = 0, and infinity where a class of q, or of p, is missing and f says so. A
    gradient is finite always: where the derivative in a zero probability is infinite, it is given as zero (the
    gradient along the face of the simplex), and an infinite summand counts as constant. The gradient is that
    of f less its tangent at 1, which differs by a constant per row and so not at all along probabilities.

    Args:
        p: probabilities (..., k); logits or log-probabilities (..., k) with `from_logits`; or a distribution.
        q: the same, with batch axes that broadcast.
        divergence: a name in `howfar.GENERATORS`, or a `Generator`.
        from_logits: whether the tensors are logits; log-probabilities are logits.
        n_samples: draws from each side, for distributions without a closed form.
        level: coverage of the interval, for distributions.
        generator: source of the draws; the global state is not touched when it is given.

    Returns:
        Tensor (...) of tensors; `Estimate` of distributions, whose standard error is 0 where the value is
        exact. Drawn values have unbiased gradients, pathwise where the distribution has `rsample`, else by the
        score function; pathwise ones suppose densities continuous in their parameters (not Uniform).

    Raises:
        ShapeError: unequal numbers of classes, or batch axes that do not broadcast.
        DomainError: negative probabilities, NaN, sums other than one.
        UnknownName: no generator of that name.

    Example:
        >>> import torch, howfar
        >>> howfar.f_divergence([0.5, 0.5], [0.9, 0.1], "kl")
        tensor(0.5108)
        >>> howfar.f_divergence(torch.tensor([0.0, -1e4]), torch.tensor([-1e4, 0.0]), "js", from_logits=True)
        tensor(0.6931)
    """
    return _of(generator_of(divergence), p, q, from_logits, n_samples, level, generator)


@_typed
def kl(
    p: Any,
    q: Any,
    *,
    from_logits: bool = False,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Tensor | Estimate:
    """Kullback-Leibler divergence KL(p || q) = sum p log(p / q) (Kullback and Leibler 1951), in nats.

    Not symmetric, not bounded; infinite where q = 0 < p. Arguments, errors and gradients as in `f_divergence`.

    Example:
        >>> import torch, howfar
        >>> howfar.kl(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]))
        tensor(0.6931)
        >>> normal = torch.distributions.Normal
        >>> howfar.kl(normal(0.0, 1.0), normal(1.0, 1.0)).value
        tensor(0.5000)
    """
    return _named("kl", p, q, from_logits, n_samples, level, generator)


@_typed
def reverse_kl(
    p: Any,
    q: Any,
    *,
    from_logits: bool = False,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Tensor | Estimate:
    """KL(q || p) = sum q log(q / p), in nats: `kl` with its arguments swapped.

    Infinite where p = 0 < q. Arguments, errors and gradients as in `f_divergence`.

    Example:
        >>> import howfar
        >>> howfar.reverse_kl([1.0, 0.0], [0.5, 0.5])
        tensor(inf)
    """
    return _named("reverse_kl", p, q, from_logits, n_samples, level, generator)


@_typed
def js(
    p: Any,
    q: Any,
    *,
    from_logits: bool = False,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Tensor | Estimate:
    """Jensen-Shannon divergence KL(p, m) / 2 + KL(q, m) / 2, m = (p + q) / 2 (Lin 1991), in nats.

    Symmetric, at most log 2; its root is a metric (Endres and Schindelin 2003). On disjoint supports it is
    log 2 whatever their distance, with a zero gradient. Arguments, errors and gradients as in `f_divergence`.

    Example:
        >>> import torch, howfar
        >>> howfar.js(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
        tensor(0.6931)
    """
    return _named("js", p, q, from_logits, n_samples, level, generator)


@_typed
def tv(
    p: Any,
    q: Any,
    *,
    from_logits: bool = False,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Tensor | Estimate:
    """Total variation sum |p - q| / 2 = max over events of p(A) - q(A): between 0 and 1, without unit.

    A metric. Its gradient where p = q is taken as zero. Arguments and errors as in `f_divergence`.

    Example:
        >>> import torch, howfar
        >>> howfar.tv(torch.tensor([0.5, 0.5]), torch.tensor([0.75, 0.25]))
        tensor(0.2500)
    """
    return _named("tv", p, q, from_logits, n_samples, level, generator)


@_typed
def hellinger(
    p: Any,
    q: Any,
    *,
    from_logits: bool = False,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Tensor | Estimate:
    """Squared Hellinger distance sum (sqrt p - sqrt q)^2 / 2 = 1 - sum sqrt(p q) (Hellinger 1909): between 0 and 1.

    With the half: N(0, 1) against N(1, 1) gives 1 - exp(-1/8). The f-GAN paper leaves the half out
    (`f_divergence(p, q, "fgan_hellinger")`). Its root is a metric. Arguments, errors and gradients as in
    `f_divergence`.

    Example:
        >>> import torch, howfar
        >>> howfar.hellinger(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))
        tensor(0.2929)
    """
    return _named("hellinger", p, q, from_logits, n_samples, level, generator)


@_typed
def chi2(
    p: Any,
    q: Any,
    *,
    from_logits: bool = False,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Tensor | Estimate:
    """Pearson's chi2 sum (p - q)^2 / q (Pearson 1900), without unit; infinite where q = 0 < p.

    `neyman_chi2` divides by p instead. Arguments, errors and gradients as in `f_divergence`.

    Example:
        >>> import torch, howfar
        >>> howfar.chi2(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]))
        tensor(1.)
    """
    return _named("chi2", p, q, from_logits, n_samples, level, generator)


@_typed
def neyman_chi2(
    p: Any,
    q: Any,
    *,
    from_logits: bool = False,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Tensor | Estimate:
    """Neyman's chi2 sum (p - q)^2 / p (Neyman 1949), without unit; infinite where p = 0 < q.

    It is `chi2` with its arguments swapped. Arguments, errors and gradients as in `f_divergence`.

    Example:
        >>> import torch, howfar
        >>> howfar.neyman_chi2(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))
        tensor(1.)
    """
    return _named("neyman_chi2", p, q, from_logits, n_samples, level, generator)


@_typed
def jeffreys(
    p: Any,
    q: Any,
    *,
    from_logits: bool = False,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Tensor | Estimate:
    """Jeffreys' divergence KL(p, q) + KL(q, p) = sum (p - q) log(p / q) (Jeffreys 1946), in nats.

    Symmetric, not bounded; the population stability index of drift monitoring is this number on binned data.
    Arguments, errors and gradients as in `f_divergence`.

    Example:
        >>> import torch, howfar
        >>> howfar.jeffreys(torch.tensor([0.5, 0.5]), torch.tensor([0.75, 0.25]))
        tensor(0.2747)
    """
    return _named("jeffreys", p, q, from_logits, n_samples, level, generator)


@_typed
def triangular(
    p: Any,
    q: Any,
    *,
    from_logits: bool = False,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Tensor | Estimate:
    """Triangular discrimination sum (p - q)^2 / (p + q) (Vincze 1981; Le Cam 1986): between 0 and 2, without unit.

    Symmetric; its root is a metric. It bounds the others: 2 tv^2 <= triangular <= 2 tv (Topsøe 2000).
    Arguments, errors and gradients as in `f_divergence`.

    Example:
        >>> import torch, howfar
        >>> howfar.triangular(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
        tensor(2.)
    """
    return _named("triangular", p, q, from_logits, n_samples, level, generator)


@overload
def alpha_divergence(
    p: td.Distribution,
    q: td.Distribution,
    alpha: float,
    *,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Estimate: ...


@overload
def alpha_divergence(p: Any, q: Any, alpha: float, *, from_logits: bool = False) -> Tensor: ...


def alpha_divergence(
    p: Any,
    q: Any,
    alpha: float,
    *,
    from_logits: bool = False,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Any:
    """Power divergence (sum p^a q^(1 - a) - 1) / (a (a - 1)) of any real order a (Cressie and Read 1984).

    Its generator is f(u) = (u^a - 1 - a (u - 1)) / (a (a - 1)). In it, a = 1 is `kl`, a = 0 is `reverse_kl`, a = 1/2
    is 4 `hellinger`, a = 2 is `chi2` / 2, a = -1 is `neyman_chi2` / 2. Amari's order is 2 a - 1. Bounded by
    1 / (a (1 - a)) for 0 < a < 1. Other arguments, errors and gradients as in `f_divergence`.

    Raises:
        DomainError: alpha is not a finite number.

    Example:
        >>> import torch, howfar
        >>> p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.75, 0.25])
        >>> howfar.alpha_divergence(p, q, 2.0), howfar.chi2(p, q) / 2
        (tensor(0.1667), tensor(0.1667))
    """
    return _of(generator_of_order(alpha), p, q, from_logits, n_samples, level, generator)


@overload
def renyi(
    p: td.Distribution,
    q: td.Distribution,
    alpha: float,
    *,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Estimate: ...


@overload
def renyi(p: Any, q: Any, alpha: float, *, from_logits: bool = False) -> Tensor: ...


def renyi(
    p: Any,
    q: Any,
    alpha: float,
    *,
    from_logits: bool = False,
    n_samples: int = DRAWS,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> Any:
    """Rényi's divergence log(sum p^a q^(1 - a)) / (a - 1) of order a >= 0 (Rényi 1961), in nats.

    It grows with the order: a = 0 is -log q(p > 0), a = 1/2 is -2 log(1 - `hellinger`), a = 1 is `kl`, a = 2 is
    log(1 + `chi2`), a = infinity is log max p / q (van Erven and Harremoës 2014). Other arguments and gradients as
    in `f_divergence`. Sampled values are a logarithm of a mean, with a bias of the order of 1 / n_samples.

    Raises:
        DomainError: alpha is negative or NaN; or 0 or infinite, for distributions that are not finite tables.

    Example:
        >>> import torch, howfar
        >>> p, q = torch.tensor([0.05, 0.95]), torch.tensor([0.5, 0.5])
        >>> howfar.renyi(p, q, 0.5)
        tensor(0.3314)
    """
    try:
        order = float(alpha)
    except (TypeError, ValueError, RuntimeError):
        order = _checks.check_number(alpha, "alpha")
    if not order >= 0.0:
        fix = "Its mirror image is alpha / (1 - alpha) * renyi(q, p, 1 - alpha)."
        raise DomainError(complaint("alpha", "an order >= 0, infinity included", f"{order:g}", fix))
    if order == 1.0:
        return _named("kl", p, q, from_logits, n_samples, level, generator)
    if isinstance(p, td.Distribution) or isinstance(q, td.Distribution):
        left, right = distributions.check_pair(p, q, from_logits=from_logits)
        return distributions.estimate_renyi(left, right, order, n_samples=n_samples, level=level, generator=generator)
    return discrete.compare(p, q, discrete.renyi(order), from_logits=from_logits)


def _named(
    name: str,
    p: Any,
    q: Any,
    from_logits: bool,
    n_samples: int,
    level: float,
    generator: torch.Generator | None,
) -> Tensor | Estimate:
    return _of(GENERATORS[name], p, q, from_logits, n_samples, level, generator)


def _of(
    row: Generator,
    p: Any,
    q: Any,
    from_logits: bool,
    n_samples: int,
    level: float,
    generator: torch.Generator | None,
) -> Tensor | Estimate:
    if isinstance(p, td.Distribution) or isinstance(q, td.Distribution):
        left, right = distributions.check_pair(p, q, from_logits=from_logits)
        return distributions.estimate(left, right, row, n_samples=n_samples, level=level, generator=generator)
    return discrete.compare(p, q, discrete.total(row), from_logits=from_logits)
