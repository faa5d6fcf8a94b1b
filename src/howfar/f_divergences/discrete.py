"""Divergences of distributions on k classes, from probabilities, log-probabilities or logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, ShapeError, complaint
from howfar.f_divergences.generators import Generator, alpha
from howfar.f_divergences.terms import Ratio

SUM_TOLERANCE = 1e-4
"""How far a row of probabilities may be from one: rows typed to four digits pass, logits and counts do not."""


def compare(p: Any, q: Any, reduce: Callable[[Ratio], Tensor], *, from_logits: bool) -> Tensor:
    """`reduce` of the checked and broadcast pair; half precisions are computed in float32 and handed back."""
    left, right = _checks.as_tensor(p, "p"), _checks.as_tensor(q, "q")
    for tensor, name in ((left, "p"), (right, "q")):
        if tensor.ndim == 0 or tensor.shape[-1] == 0:
            fix = "Pass one number per class along the last axis."
            raise ShapeError(complaint(name, "shape (..., k) with k >= 1", f"shape {tuple(tensor.shape)}", fix))
    if left.shape[-1] != right.shape[-1]:
        raise ShapeError(
            complaint(
                "q",
                f"shape (..., {left.shape[-1]}) to match p of shape {tuple(left.shape)}",
                f"{tuple(right.shape)}",
                "Pass probabilities over the same classes; a class that one side lacks has probability 0.",
            )
        )
    _checks.check_same_kind(left, right, "p", "q")
    _checks.check_batch(left.shape[:-1], right.shape[:-1], "p", "q")
    for tensor, name in ((left, "p"), (right, "q")):
        (check_logits if from_logits else check_probabilities)(tensor, name)
    dtype = left.dtype
    if torch.finfo(dtype).bits < 32:
        left, right = left.float(), right.float()
    ratio = Ratio.of_logits(left, right) if from_logits else Ratio.of_probabilities(left, right)
    return reduce(ratio).to(dtype)


def check_probabilities(p: Tensor, name: str) -> None:
    """Finite, non-negative, each row with sum one."""
    if _checks.unseen(p):
        return
    _checks.check_finite(p, name)
    if bool((p < 0).any()):
        where, value = _first(p, p < 0)
        fix = f"Clip the rounding of a subtraction, or pass from_logits=True if {name} holds logits."
        raise DomainError(complaint(name, "probabilities >= 0", f"{value:.6g} at {name}{where}", fix))
    total = p.detach().sum(-1, dtype=torch.float64 if p.dtype == torch.float64 else torch.float32)
    tolerance = max(SUM_TOLERANCE, 4 * torch.finfo(p.dtype).eps)
    if bool(((total - 1).abs() > tolerance).any()):
        worst = total.flatten()[(total - 1).abs().argmax()].item()
        fix = f"Divide by {name}.sum(-1, keepdim=True), or pass from_logits=True if {name} holds logits."
        raise DomainError(
            complaint(name, "probabilities that sum to 1 along the last axis", f"a sum of {worst:.6g}", fix)
        )


def check_logits(p: Tensor, name: str) -> None:
    """No NaN, no positive infinity, in each row at least one finite entry."""
    if _checks.unseen(p):
        return
    bad = torch.isnan(p) | (p == math.inf)
    if bool(bad.any()):
        where, value = _first(p, bad)
        fix = "A class of probability zero has the logit -inf."
        raise DomainError(complaint(name, "logits below infinity", f"{value} at {name}{where}", fix))
    if bool((p == -math.inf).all(-1).any()):
        fix = "Give some class a finite logit."
        raise DomainError(complaint(name, "some positive probability in each row", "logits that are all -inf", fix))


def _first(p: Tensor, mask: Tensor) -> tuple[str, float]:
    index = tuple(torch.nonzero(mask)[0].tolist())
    return "".join(f"[{i}]" for i in index), p[index].item()


def total(generator: Generator) -> Callable[[Ratio], Tensor]:
    """The divergence of a generator: its summands, plus f(1) for the one row where that is not zero."""

    def reduce(ratio: Ratio) -> Tensor:
        divergence = generator.summands(ratio).sum(-1)
        return divergence + generator.at_one if generator.at_one else divergence

    return reduce


def log_affinity(ratio: Ratio, order: float) -> Tensor:
    """log sum p^a q^(1 - a), for a other than 0 and 1; near p = q it comes from the divergence of order a."""
    power = order * (order - 1.0)
    inside = power * alpha(order).summands(ratio).sum(-1)
    near = inside.abs() <= 0.5
    exponent = ratio.log_larger + torch.where(ratio.p_larger, (1.0 - order) * ratio.s, order * ratio.s)
    present = (ratio.larger > 0) & ~ratio.absent
    some = present.any(-1)
    logs = torch.where(present, torch.where(some.unsqueeze(-1), exponent, 0.0), -math.inf)
    logs = torch.where(some.unsqueeze(-1), logs, 0.0)
    far = torch.where(some, torch.logsumexp(logs, -1), -math.inf)
    costly = ratio.absent & (ratio.p_larger if order > 1 else ~ratio.p_larger)
    if order > 1 or order < 0:
        far = torch.where(costly.any(-1), math.inf, far)
    return torch.where(near, torch.log1p(torch.where(near, inside, 0.0)), far)


def renyi(order: float) -> Callable[[Ratio], Tensor]:
    """Rényi's divergence of order a other than 1: log sum p^a q^(1 - a) / (a - 1), and its limits at 0 and infinity."""

    def missing_mass(ratio: Ratio) -> Tensor:
        mass = torch.where(ratio.absent & ~ratio.p_larger, ratio.larger, 0.0).sum(-1)
        some = mass < 1
        return torch.where(some, -torch.log1p(-torch.where(some, mass, 0.0)), math.inf)

    def worst_ratio(ratio: Ratio) -> Tensor:
        d = torch.where(ratio.p_larger, -ratio.s, ratio.s)
        lost = ratio.absent | (ratio.larger == 0)
        worst = torch.where(lost, torch.where(ratio.absent & ratio.p_larger, math.inf, -math.inf), d).amax(-1)
        return torch.where(worst > 0, worst, worst - worst.detach())

    if order == 0.0:
        return missing_mass
    if math.isinf(order):
        return worst_ratio
    return lambda ratio: log_affinity(ratio, order) / (order - 1.0)
