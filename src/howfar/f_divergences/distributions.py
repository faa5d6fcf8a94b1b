"""Divergences of two `torch.distributions`: by a table, in closed form, or else by sampling, always with an error bar."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.distributions as td
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, complaint
from howfar.f_divergences import closed_forms, discrete
from howfar.f_divergences.generators import Generator, alpha
from howfar.f_divergences.monte_carlo import Sampled, same_space, sampled_divergence
from howfar.f_divergences.terms import Ratio
from howfar.results import Estimate


def check_pair(p: Any, q: Any, *, from_logits: bool) -> tuple[td.Distribution, td.Distribution]:
    """Both are distributions of one outcome space, with batch shapes that broadcast."""
    for side, name, other in ((p, "p", "q"), (q, "q", "p")):
        if not isinstance(side, td.Distribution):
            expected = f"a torch.distributions.Distribution, as {other} is"
            fix = "Pass two distributions, or two tensors of probabilities."
            raise DomainError(complaint(name, expected, type(side).__name__, fix))
    if from_logits:
        fix = "Leave it out; a distribution knows how it was parametrised."
        raise DomainError(complaint("from_logits", "False for distributions", "True", fix))
    return same_space(p, q)


def estimate(
    p: td.Distribution,
    q: td.Distribution,
    f: Generator,
    *,
    n_samples: int,
    level: float,
    generator: torch.Generator | None,
) -> Estimate:
    """D_f(p, q)."""
    _check_options(n_samples, level)
    tabled = _tabled(p, q, discrete.total(f), level)
    if tabled is not None:
        return tabled
    parts = [_of_order(p, q, order) for _, order in f.powers]
    known = [part for part in parts if part is not None]
    if known and len(known) == len(parts):
        value = sum(scale * part for (scale, _), part in zip(f.powers, known, strict=True))
        return _exact(torch.as_tensor(value) + f.at_one, p, q, "closed form", level)
    draws = sampled_divergence(p, q, f, n_samples=n_samples, generator=generator)
    lower, upper = _interval(draws, level, f.supremum - f.at_one)
    return Estimate(
        draws.value + f.at_one,
        draws.standard_error,
        (lower + f.at_one, upper + f.at_one),
        level,
        f"Monte Carlo, {n_samples} draws from each side",
        draws.warnings,
    )


def estimate_renyi(
    p: td.Distribution,
    q: td.Distribution,
    order: float,
    *,
    n_samples: int,
    level: float,
    generator: torch.Generator | None,
) -> Estimate:
    """Rényi's divergence of an order other than 1."""
    _check_options(n_samples, level)
    tabled = _tabled(p, q, discrete.renyi(order), level)
    if tabled is not None:
        return tabled
    if order == 0.0 or math.isinf(order):
        fix = "Pass an order between, or tables of probabilities."
        raise DomainError(complaint("alpha", "a finite order > 0 for continuous distributions", f"{order:g}", fix))
    log_affinity = closed_forms.log_affinity(p, q, order)
    if log_affinity is not None:
        return _exact(log_affinity / (order - 1.0), p, q, "closed form", level)
    draws = sampled_divergence(p, q, alpha(order), n_samples=n_samples, generator=generator)
    power = order * (order - 1.0)

    def of(divergence: Tensor) -> Tensor:
        inside = power * divergence
        overlap = inside > -1.0 + 4.0 * torch.finfo(inside.dtype).eps
        return torch.where(overlap, torch.log1p(torch.where(overlap, inside, 0.0)) / (order - 1.0), math.inf)

    value = of(draws.value)
    slope = (order / (1.0 + power * draws.value.detach()).clamp_min(torch.finfo(value.dtype).tiny)).abs()
    error = torch.where(value.isinf(), 0.0, draws.standard_error * slope)
    lower, upper = _interval(draws, level, alpha(order).supremum)
    return Estimate(
        value,
        error,
        (of(lower), of(upper)),
        level,
        f"Monte Carlo, {n_samples} draws from each side",
        draws.warnings,
    )


def _check_options(n_samples: int, level: float) -> None:
    _checks.check_count(n_samples, "n_samples", least=2)
    if not 0.0 < _checks.check_number(level, "level") < 1.0:
        raise DomainError(complaint("level", "a number in (0, 1)", f"{level:g}", "Pass a coverage such as 0.95."))


def _tabled(p: td.Distribution, q: td.Distribution, reduce: Callable[[Ratio], Tensor], level: float) -> Estimate | None:
    tables = closed_forms.log_tables(p, q)
    return None if tables is None else _exact(reduce(Ratio.of_logits(*tables)), p, q, "enumeration", level)


def _of_order(p: td.Distribution, q: td.Distribution, order: float) -> Tensor | None:
    if order == 1.0:
        return closed_forms.kl(p, q)
    if order == 0.0:
        return closed_forms.kl(q, p)
    log_affinity = closed_forms.log_affinity(p, q, order)
    return None if log_affinity is None else torch.expm1(log_affinity) / (order * (order - 1.0))


def _exact(value: Tensor, p: td.Distribution, q: td.Distribution, method: str, level: float) -> Estimate:
    batch = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    number = value.to(_dtype_of(p)).expand(batch)
    return Estimate(number, torch.zeros_like(number), (number.detach(), number.detach()), level, method)


def _dtype_of(p: td.Distribution) -> torch.dtype:
    for value in vars(p).values():
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.dtype
        if isinstance(value, td.Distribution):
            return _dtype_of(value)
    return torch.get_default_dtype()


def _interval(draws: Sampled, level: float, supremum: float) -> tuple[Tensor, Tensor]:
    """The normal interval, within what the divergence can be."""
    value = draws.value.detach()
    reach = math.sqrt(2.0) * torch.erfinv(torch.tensor(level, dtype=torch.float64)).item() * draws.standard_error
    return (value - reach).clamp(0.0, supremum), (value + reach).clamp(0.0, supremum)
