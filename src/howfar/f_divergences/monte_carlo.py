"""The divergence of two distributions that can only be sampled and evaluated.

With m = (p + q) / 2, D_f = E_m[(q / m) f(p / q)], and half of the draws come from p, half from q. The
integrand of a bounded divergence is then bounded, that of KL grows like a logarithm, and none is negative,
whatever the tails. Drawn under p alone, the same sums may have no variance at all.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributions as td
from torch import Tensor

from howfar._errors import DomainError, ShapeError, complaint
from howfar.f_divergences.generators import Generator
from howfar.f_divergences.terms import Ratio

_HEAVY_SHARE = 0.1


@dataclass(frozen=True)
class Sampled:
    """A mean over draws, its standard error, and what its tail looked like."""

    value: Tensor
    standard_error: Tensor
    warnings: tuple[str, ...]


def sampled_divergence(
    p: td.Distribution, q: td.Distribution, f: Generator, *, n_samples: int, generator: torch.Generator | None
) -> Sampled:
    """The mean of the summands over `n_samples` draws from each side.

    Gradients are unbiased: pathwise through `rsample` where a side has it, else by the score function.
    """
    p, q = (_unchecked(side) for side in same_space(p, q))
    with _seeded(generator, device_of(p)):
        halves = [_summands(p, q, p, f, n_samples), _summands(p, q, q, f, n_samples)]
    means = [half.mean(0) for half in halves]
    value = 0.5 * (means[0] + means[1])
    infinite = value == math.inf
    safe = torch.stack([torch.where(infinite, 0.0, half.detach()) for half in halves])
    standard_error = 0.5 * (safe.var(1) / n_samples).sum(0).sqrt()
    return Sampled(value, standard_error, _tail(safe))


def _tail(draws: Tensor) -> tuple[str, ...]:
    """A warning where a single draw of (2, n, *batch) weighs as much as thousands should."""
    share = (draws.amax((0, 1)) / draws.sum((0, 1))).nan_to_num()
    if not bool((share > max(_HEAVY_SHARE, 4.0 / draws.shape[1])).any()):
        return ()
    warning = (
        f"One draw carries {share.max().item():.0%} of the estimate: its tail is too heavy for the interval to be "
        "trusted. Raise n_samples, or use a bounded divergence (js, hellinger, tv)."
    )
    return (warning,)


def same_space(p: td.Distribution, q: td.Distribution) -> tuple[td.Distribution, td.Distribution]:
    """Both with one batch shape; an error where their outcomes are of different kinds."""
    if p.event_shape != q.event_shape:
        raise ShapeError(
            complaint(
                "q",
                f"event shape {tuple(p.event_shape)}, that of p",
                f"{tuple(q.event_shape)}",
                "Wrap batch axes with torch.distributions.Independent, or match the dimensions.",
            )
        )
    kinds = [_is_discrete(p), _is_discrete(q)]
    if None not in kinds and kinds[0] != kinds[1]:
        names = ["discrete" if kind else "continuous" for kind in kinds]
        raise DomainError(
            complaint("q", f"a {names[0]} distribution like p", f"a {names[1]} one", "They have no density in common.")
        )
    try:
        batch = torch.broadcast_shapes(p.batch_shape, q.batch_shape)
    except RuntimeError:
        raise ShapeError(
            complaint(
                "q",
                f"a batch shape that broadcasts with {tuple(p.batch_shape)} of p",
                f"{tuple(q.batch_shape)}",
                "Use equal batch sizes, or 1.",
            )
        ) from None
    first = p if p.batch_shape == batch else p.expand(batch)
    second = q if q.batch_shape == batch else q.expand(batch)
    return first, second


def _is_discrete(p: td.Distribution) -> bool | None:
    try:
        return bool(p.support.is_discrete)  # type: ignore[union-attr]
    except (NotImplementedError, AttributeError):
        return None


def device_of(p: td.Distribution) -> torch.device:
    """Where the parameters live."""
    for value in vars(p).values():
        if isinstance(value, Tensor):
            return value.device
        if isinstance(value, td.Distribution):
            return device_of(value)
    return torch.device("cpu")


@contextlib.contextmanager
def _seeded(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """torch.distributions draw from the global state only: lend it a seed, and put it back."""
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device).item())
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
        return
    with torch.random.fork_rng(devices=[device], device_type=device.type):
        module = torch.get_device_module(device)
        with module.device(device):
            module.manual_seed(seed)
            yield


def _summands(p: td.Distribution, q: td.Distribution, source: td.Distribution, f: Generator, n: int) -> Tensor:
    """(n, *batch): the integrand at n draws of `source`."""
    draws = source.rsample((n,)) if source.has_rsample else source.sample((n,))
    log_p, log_q = (_log_density(side, draws, own=side is source) for side in (p, q))
    values = f.summands(Ratio.of_log_densities(log_p, log_q))
    if bool(values.isnan().any()):
        raise DomainError(
            complaint("p, q", "densities that are finite where they are sampled", "NaN", "Check their parameters.")
        )
    if source.has_rsample:
        return values
    own = log_p if source is p else log_q
    return values + torch.where(values.isinf(), 0.0, values).detach() * (own - own.detach())


def _log_density(p: td.Distribution, draws: Tensor, *, own: bool) -> Tensor:
    """log p at draws, and -inf outside its support; its own draws leave it by rounding at most."""
    inside = None if own else _inside(p, draws)
    if inside is None or bool(inside.all()):
        return p.log_prob(draws)
    event = inside.reshape(*inside.shape, *(1,) * (draws.ndim - inside.ndim))
    with torch.no_grad():
        stand_in = p.sample()
    return torch.where(inside, p.log_prob(torch.where(event, draws, stand_in)), -math.inf)


def _inside(p: td.Distribution, draws: Tensor) -> Tensor | None:
    try:
        inside: Tensor = p.support.check(draws)  # type: ignore[union-attr]
    except (NotImplementedError, AttributeError):
        return None
    return inside


def _unchecked(p: td.Distribution) -> td.Distribution:
    """The same distribution, whose log_prob does not raise outside the support."""
    twin = copy.copy(p)
    twin._validate_args = False
    for name, value in vars(p).items():
        if isinstance(value, td.Distribution):
            setattr(twin, name, _unchecked(value))
    return twin
