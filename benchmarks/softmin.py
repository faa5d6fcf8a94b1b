"""Claim: one half-step of Sinkhorn on points, without the n x m matrix, and how fast next to those that build it.

softmin_i = -eps log sum_j exp((h_j - |x_i - y_j|^2) / eps), on uniform points of the unit cube, eps a twentieth of the
mean cost, h that of uniform weights and a random potential.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

import howfar.ops
from benchmarks.harness import Contender, Job

_ROWS_CHECKED = 200


def jobs(*, smoke: bool) -> Iterator[Job]:
    """The sizes of the claim, or one that takes no time."""
    sizes = [(300, 3)] if smoke else [(10_000, 3), (10_000, 64)]
    for n, d in sizes:
        yield job(n, d)


def job(n: int, d: int) -> Job:
    """n points against n in d dimensions, float32."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, d, generator=generator)
    y = torch.rand(n, d, generator=generator)
    eps = 0.05 * d / 6  # E|X - Y|^2 = d / 6 on the unit cube
    h = eps * (0.5 * torch.randn(n, generator=generator) - math.log(n))
    checked = torch.randperm(n, generator=generator)[:_ROWS_CHECKED]
    truth = dense(x[checked].double(), y.double(), h.double(), eps)

    def error(value: Tensor) -> float:
        return float((value[checked].double() - truth).abs().max() / truth.abs().max())

    return Job(
        title=f"softmin, n = m = {n}, d = {d}, float32",
        dtype=x.dtype,
        contenders=(
            Contender("howfar", lambda: howfar.ops.softmin(x, y, h, eps=eps)),
            Contender("torch, dense", lambda: dense(x, y, h, eps)),
            Contender("KeOps", lambda: keops(x, y, h, eps), needs=("pykeops",)),
        ),
        error=error,
        budget=1e-5,
    )


def dense(x: Tensor, y: Tensor, h: Tensor, eps: float) -> Tensor:
    """What a reader of the formula writes."""
    return -eps * torch.logsumexp((h - torch.cdist(x, y).square()) / eps, dim=-1)


def keops(x: Tensor, y: Tensor, h: Tensor, eps: float) -> Tensor:
    """The same by a compiled symbolic reduction."""
    from pykeops.torch import LazyTensor

    x_i, y_j, h_j = LazyTensor(x[:, None, :]), LazyTensor(y[None, :, :]), LazyTensor(h[None, :, None])
    scores = (h_j - ((x_i - y_j) ** 2).sum(-1)) / eps
    return -eps * scores.logsumexp(dim=1).squeeze(-1)
