"""Elementary functions of a score that stay finite, with finite derivatives, at every finite score."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_ASYMPTOTE = -18.0
"""Below this score log(softplus(s)) = s - exp(s) / 2 to float64 precision."""


def softplus(s: Tensor) -> Tensor:
    """log(1 + exp(s)), to full precision: torch's own softplus is cut to a line at 20, an error of 2e-9."""
    return -functional.logsigmoid(-s)


def exponent_limit(dtype: torch.dtype) -> float:
    """The exponent up to which exp is exact: 29.6 in float32, 236.6 in float64; its tangent continues it.

    A third of the largest exponent: the square of the slope there (Adam's second moment) fits, and a factor
    of 1e12 beside it. A clamp would do for the value, but it would take the gradient away exactly where the
    critic is most wrong.
    """
    return math.log(torch.finfo(dtype).max) / 3


def exp(s: Tensor) -> Tensor:
    """exp(s), continued by its tangent beyond `exponent_limit`: convex, increasing, finite."""
    limit = exponent_limit(s.dtype)
    return torch.exp(s.clamp(max=limit)) * (1 + torch.relu(s - limit))


def expm1(s: Tensor) -> Tensor:
    """exp(s) - 1 without cancellation near 0, continued by its tangent beyond `exponent_limit`."""
    limit = exponent_limit(s.dtype)
    return torch.expm1(s.clamp(max=limit)) + math.exp(limit) * torch.relu(s - limit)


def log_softplus(s: Tensor) -> Tensor:
    """log(log(1 + exp(s))), which is s in the lower tail where softplus itself underflows to 0."""
    body = torch.log(softplus(s.clamp(min=_ASYMPTOTE)))
    tail = s - torch.exp(s.clamp(max=_ASYMPTOTE)) / 2
    return torch.where(s < _ASYMPTOTE, tail, body)


def jeffreys_log_ratio(slope: Tensor) -> Tensor:
    """The z that solves z + 1 - exp(-z) = slope: log u where f'(u) = slope and f(u) = (u - 1) log u.

    In terms of Lambert's function z = -log W(exp(1 - slope)); that exponential overflows, this does not.
    """
    out: Tensor = _JeffreysLogRatio.apply(slope)  # type: ignore[no-untyped-call]
    return out


class _JeffreysLogRatio(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(slope: Tensor) -> Tensor:
        # The left side is concave and increasing, and both starts lie at or left of the root:
        # Newton then rises to it monotonically, and quadratically at the end.
        z = torch.where(slope > 0, slope - 1, -torch.log1p(-slope.clamp(max=0.0)))
        for _ in range(8):
            decay = torch.exp(-z)
            z = z + (slope - z - 1 + decay) / (1 + decay)
        return z

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return grads[0] * torch.sigmoid(z)
