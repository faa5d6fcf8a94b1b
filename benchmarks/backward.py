"""Claim: the derivative of softmin in points and potential costs little more than softmin itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.clouds import clouds
from benchmarks.harness import Contender, Job
from howfar import ops


def jobs(*, tiny: bool, long: bool) -> Iterator[Job]:  # noqa: ARG001
    """The sizes of the claim."""
    for d in (3,) if tiny else (3, 64):
        for share in (0.05, 0.001):
            yield job(1000 if tiny else 10_000, d, share)


def job(n: int, d: int, share: float) -> Job:
    """Forward, forward for a derivative, derivative: of the sum of the soft minima, in x and h; eps a share of the mean cost."""
    c = clouds(n, d, share)
    x, y, h = c.x.clone().requires_grad_(), c.y, c.h.clone().requires_grad_()
    ours = lambda: ops.softmin(x, y, h, eps=c.eps)
    rows, columns, potential = c.wide()
    rows.requires_grad_()
    value = peers.dense_softmin(rows, columns, potential, c.eps)
    (truth,) = torch.autograd.grad(value.sum(), rows)
    truths = value.detach(), truth

    def error(answer: Tensor) -> float:
        return c.error(answer.detach(), truths[answer.ndim - 1])

    def both(forward: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return lambda: torch.autograd.grad(forward().sum(), (x, h))[0]

    kept = ours().sum()
    keops = both(lambda: peers.keops_softmin(x, y, h, c.eps))
    return Job(
        title=f"softmin and its derivative in x and h, {c.sizes}, eps = {share:g} of the mean cost",
        dtype=x.dtype,
        contenders=[
            Contender("howfar, value", lambda: ops.softmin(c.x, y, c.h, eps=c.eps)),
            Contender("howfar, value for a derivative", ours),
            Contender(
                "howfar, derivative",
                lambda: torch.autograd.grad(kept, (x, h), retain_graph=True)[0],
                at_most=2.5,
            ),
            Contender("howfar, value and derivative", both(ours)),
            Contender("torch, dense, both", both(lambda: peers.dense_softmin(x, y, h, c.eps))),
            Contender("KeOps, both", keops, needs=("pykeops",), compiles=True),
        ],
        error=error,
        budget=1e-4,
        patience_s=20.0,
    )
