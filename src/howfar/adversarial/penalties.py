"""Penalties on the critic's slope, and weight clipping.

The slope of sample i is |grad_x d_i|_2 over all axes but the first. A critic with several scores per sample
(patches) counts with their mean, because the objectives average over them as well.
"""

from __future__ import annotations

import contextlib
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from howfar import _checks
from howfar._errors import DomainError, HowfarWarning, ShapeError, complaint
from howfar.adversarial.losses import wasserstein_critic

Critic = Callable[..., Tensor]

_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Batches:
    """What the points of a penalty are made from; a penalty of one batch has it on both sides."""

    real: Tensor
    fake: Tensor
    noise: tuple[float, float]
    generator: torch.Generator | None


@dataclass(frozen=True)
class Penalty:
    """One penalty: where the slope is taken, and what it costs.

    Attributes:
        points: batches -> the points, of the shape of a batch.
        cost: squared slopes (N,) in units of the squared target -> the mean cost.
        needs: the batches that `points` reads.
        centred: whether the cost is least at slope zero, so that a target has no meaning.
    """

    points: Callable[[Batches], Tensor]
    cost: Callable[[Tensor], Tensor]
    needs: tuple[str, ...]
    centred: bool = False


def gradient_penalty(
    critic: Critic,
    *,
    real: Tensor | None = None,
    fake: Tensor | None = None,
    weight: float = 10.0,
    kind: str = "two-sided",
    target: float = 1.0,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    noise: tuple[float, float] = (-0.5, 0.5),
    generator: torch.Generator | None = None,
) -> Tensor:
    """A scalar to add to the critic's loss, differentiable in the critic's parameters (not in the samples).

    With g = grad_x d, x~ = e x + (1 - e) y and one e ~ U(0, 1) per sample:

    | kind        | penalty                                   | source                                       |
    |-------------|-------------------------------------------|----------------------------------------------|
    | "two-sided" | w E (abs(g(x~)) / target - 1)^2           | Gulrajani et al. 2017, WGAN-GP               |
    | "one-sided" | w E relu(abs(g(x~)) / target - 1)^2       | Petzka et al. 2018, WGAN-LP                  |
    | "zero"      | w E abs(g(x~))^2                          | Thanh-Tung et al. 2019, 0-GP                 |
    | "r1"        | w / 2 E_P abs(g)^2                        | Mescheder et al. 2018; w is StyleGAN's gamma |
    | "r2"        | w / 2 E_Q abs(g)^2                        | the same on the fakes                        |
    | "dragan"    | w E (abs(g(x + u)) / target - 1)^2        | Kodali et al. 2017; u: see `noise`           |

    Ends are detached. Batches may have any rank: (N,), (N, d), (N, C, H, W), ... Under autocast the penalty is
    computed in float32 with autocast off, from the unscaled scores, so no GradScaler enters. A slope of zero has
    slope's subgradient 0, so no NaN. Under `torch.no_grad` the number comes without a graph.

    Args:
        critic: (N, ...) points -> scores (N,), (N, 1), or (N, ...) for patches.
        real: the data, for every kind but "r2".
        fake: the generator's samples, for every kind but "r1" and "dragan"; the same shape as real.
        weight: w, at least 0.
        target: the slope asked for, in units of score per unit of the data.
        args, kwargs: passed on to the critic after the points: labels and the like, one per sample.
        noise: for "dragan", the interval of the uniform noise added to every entry, in standard deviations of the
            whole real batch. (-0.5, 0.5) is centred; (0.0, 0.5) is the other reading of the paper in use.
        generator: draws e and u.

    Raises:
        ShapeError: batches of unequal shape, or scores that are not one row per sample.
        DomainError: a missing batch, unequal dtypes or devices, a critic compiled by `torch.compile` (torch cannot
            differentiate it twice), or scores that do not depend on the points.
        HowfarWarning: a critic with batch normalisation in training mode, once per critic.

    Example:
        >>> import torch; from howfar import adversarial
        >>> x, y = torch.zeros(4, 2), torch.ones(4, 2)
        >>> adversarial.gradient_penalty(lambda z: z @ torch.tensor([3.0, 4.0]), real=x, fake=y, weight=1.0)
        tensor(16.)
    """
    row = PENALTIES[_checks.check_choice(kind, "kind", PENALTIES)]
    weight = _checks.check_number(weight, "weight", least=0.0)
    target = _checks.check_positive(target, "target")
    if row.centred and target != 1.0:
        fix = 'Leave target out, or use kind="two-sided".'
        raise DomainError(complaint("target", f"no target, because {kind!r} asks for slope 0", f"{target:g}", fix))
    low, high = (_checks.check_number(edge, "noise") for edge in noise)
    batches = _check_batches({"real": real, "fake": fake}, kind, row.needs)
    points = row.points(Batches(batches[0], batches[-1], (low, high), generator))
    squared = _squared_slopes(critic, points, args, kwargs or {})
    return weight * row.cost(squared / target**2)


def critic_slopes(
    critic: Critic, points: Tensor, *, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> Tensor:
    """The slopes |grad_x d| (N,) of a critic at points (N, ...), in units of score per unit of the data.

    Differentiable in the critic's parameters; raises and warns as `gradient_penalty` does.

    Example:
        >>> import torch; from howfar import adversarial
        >>> with torch.no_grad():
        ...     adversarial.critic_slopes(lambda x: x.square().sum(1), torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([10.,  0.])
    """
    return _root(_squared_slopes(critic, _check_batch(points, "points"), args, kwargs or {}))


def calibrated_wasserstein(
    critic: Critic,
    *,
    real: Tensor,
    fake: Tensor,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """(E_P d - E_Q d) divided by the largest slope seen at the reals, the fakes and points between them.

    A critic trained with clipped weights measures an unknown multiple of W_1; this takes the multiple out, and the
    result is in the units of the data. With the true Lipschitz constant it would be a lower bound on W_1; the
    largest slope that was seen may be smaller than that, so the bound is only as good as the sample. A constant
    critic gives 0. Meant for reading, not for training; `args` and `kwargs` are those of `gradient_penalty`.

    Example:
        >>> import torch; from howfar import adversarial
        >>> x, y = torch.full((4, 1), 3.0), torch.zeros(4, 1)
        >>> adversarial.calibrated_wasserstein(lambda z: 0.01 * z, real=x, fake=y)
        tensor(3.)
    """
    x, y = _check_batches({"real": real, "fake": fake}, "calibrated", ("real", "fake"))
    options = dict(kwargs or {})
    with torch.no_grad():
        high, low = (_check_output(critic(batch, *args, **options), batch) for batch in (x, y))
        gap = -wasserstein_critic(real=high, fake=low)
        between = _interpolates(Batches(x, y, (0.0, 0.0), generator))
        slopes = [critic_slopes(critic, points, args=args, kwargs=options).max() for points in (x, y, between)]
        steepest = torch.stack(slopes).max()
        return torch.where(steepest > 0, gap / torch.where(steepest > 0, steepest, 1), 0)


def clip_weights(critic: nn.Module, limit: float = 0.01) -> None:
    """Clamp every parameter of the critic to [-limit, limit], in place (Arjovsky et al. 2017); buffers are left.

    After it the critic is Lipschitz with a constant that depends on its architecture, so that the Wasserstein
    estimate has an arbitrary scale: c D for a linear critic with limit c and point masses D apart.

    Raises:
        DomainError: no module, no parameters, or a limit that is not positive.

    Example:
        >>> import torch; from howfar import adversarial
        >>> critic = torch.nn.Linear(2, 1)
        >>> adversarial.clip_weights(critic, 0.01)
        >>> bool(critic.weight.abs().max() <= 0.01)
        True
    """
    limit = _checks.check_positive(limit, "limit")
    parameters = list(critic.parameters()) if isinstance(critic, nn.Module) else []
    if not parameters:
        raise DomainError(
            complaint("critic", "a torch.nn.Module with parameters", type(critic).__name__, "Pass the critic itself.")
        )
    with torch.no_grad():
        for parameter in parameters:
            parameter.clamp_(-limit, limit)


def _squared_slopes(critic: Critic, points: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """|grad_x d|^2 (N,), with a graph to the critic's parameters when gradients are on."""
    keep_graph = torch.is_grad_enabled()
    _check_critic(critic, twice=keep_graph)
    device = points.device.type
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    if autocast and points.dtype in _HALF:
        points = points.float()
    off = torch.autocast(device, enabled=False) if autocast else contextlib.nullcontext()
    with torch.enable_grad(), off:
        points = points.detach().requires_grad_()
        scores = _check_output(critic(points, *args, **kwargs), points)
        score = scores.reshape(scores.shape[0], -1).mean(1).sum()
        (gradient,) = (
            torch.autograd.grad(score, points, create_graph=keep_graph, retain_graph=keep_graph, allow_unused=True)
            if score.requires_grad
            else (None,)
        )
    if gradient is None:
        raise DomainError(
            complaint(
                "critic",
                "scores that depend on the points",
                "scores with no gradient path to them",
                "Look for .detach(), .data, .numpy(), torch.no_grad() or an unused input in the critic.",
            )
        )
    wide = gradient.float() if gradient.dtype in _HALF else gradient
    return wide.reshape(wide.shape[0], -1).square().sum(1)


def _root(square: Tensor) -> Tensor:
    """The square root with derivative 0 at 0, of any order."""
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1).sqrt(), 0)


def _check_batch(value: Any, name: str) -> Tensor:
    batch = _checks.as_tensor(value, name)
    if batch.ndim == 0 or batch.numel() == 0:
        raise ShapeError(
            complaint(name, "a batch (N, ...) with N >= 1", f"shape {tuple(batch.shape)}", "Pass at least one sample.")
        )
    return batch.detach()


def _check_batches(given: Mapping[str, Tensor | None], kind: str, needs: tuple[str, ...]) -> list[Tensor]:
    batches = []
    for name in needs:
        if given[name] is None:
            raise DomainError(complaint(name, f"a batch, which {kind!r} needs", "None", f"Pass {name}=."))
        batches.append(_check_batch(given[name], name))
    first, last = batches[0], batches[-1]
    _checks.check_same_kind(first, last, needs[0], needs[-1])
    if first.shape != last.shape:
        raise ShapeError(
            complaint(
                "fake",
                f"shape {tuple(first.shape)}, that of real",
                f"{tuple(last.shape)}",
                "Each real is joined to one fake: draw as many fakes as reals, of the same shape.",
            )
        )
    return batches


def _check_output(scores: Any, points: Tensor) -> Tensor:
    n = points.shape[0]
    if isinstance(scores, Tensor) and scores.ndim > 0 and scores.shape[0] == n and scores.numel() > 0:
        return scores
    got = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
    fix = "Return one score per sample, not a mean over the batch; select the score of a tuple in a lambda."
    raise ShapeError(complaint("critic", f"scores of shape ({n},) or ({n}, ...)", got, fix))


_warned: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def _check_critic(critic: Critic, *, twice: bool) -> None:
    modules = dict(critic.named_modules()) if isinstance(critic, nn.Module) else {}
    if twice and any(_is_compiled(part) for part in (critic, *modules.values())):
        raise DomainError(
            complaint(
                "critic",
                "an eager critic",
                "one compiled by torch.compile, which cannot be differentiated twice",
                "Pass the module that was compiled (critic._orig_mod): it shares the parameters, "
                "and the compiled one can go on giving the scores.",
            )
        )
    coupled = [name for name, part in modules.items() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    coupled = [name for name in coupled if modules[name].training]
    if coupled and isinstance(critic, nn.Module) and critic not in _warned:
        _warned.add(critic)
        warnings.warn(
            complaint(
                "critic",
                "scores of which each depends on its own sample alone",
                f"batch normalisation in training mode at {coupled[0] or 'the top'!r}",
                "The slope per sample is then not defined: use LayerNorm, GroupNorm, InstanceNorm or spectral norm.",
            ),
            HowfarWarning,
            stacklevel=4,
        )


def _is_compiled(critic: Any) -> bool:
    marks = ("_orig_mod", "_torchdynamo_orig_callable", "_compiled_call_impl")
    return any(getattr(critic, mark, None) is not None for mark in marks)


def _draw(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = like.device if generator is None else generator.device
    dtype = torch.float32 if like.dtype in _HALF else like.dtype
    return torch.rand(shape, generator=generator, device=device, dtype=dtype).to(like.device)


def _interpolates(batches: Batches) -> Tensor:
    real, fake = batches.real, batches.fake
    e = _draw((real.shape[0], *[1] * (real.ndim - 1)), real, batches.generator)
    return (e * real + (1 - e) * fake).to(real.dtype)


def _around_reals(batches: Batches) -> Tensor:
    real, (low, high) = batches.real, batches.noise
    spread = low + (high - low) * _draw(tuple(real.shape), real, batches.generator)
    deviation = real.to(spread.dtype).std(correction=0)
    return (real + deviation * spread).to(real.dtype)


def _reals(batches: Batches) -> Tensor:
    return batches.real


def _fakes(batches: Batches) -> Tensor:
    return batches.fake


def _two_sided(squared: Tensor) -> Tensor:
    return (_root(squared) - 1).square().mean()


def _one_sided(squared: Tensor) -> Tensor:
    return torch.relu(_root(squared) - 1).square().mean()


def _half(squared: Tensor) -> Tensor:
    return squared.mean() / 2


PENALTIES: dict[str, Penalty] = {
    "two-sided": Penalty(_interpolates, _two_sided, ("real", "fake")),
    "one-sided": Penalty(_interpolates, _one_sided, ("real", "fake")),
    "zero": Penalty(_interpolates, Tensor.mean, ("real", "fake"), centred=True),
    "r1": Penalty(_reals, _half, ("real",), centred=True),
    "r2": Penalty(_fakes, _half, ("fake",), centred=True),
    "dragan": Penalty(_around_reals, _two_sided, ("real",)),
}
"""Every penalty by its name."""
