"""Claim: a debiased loss and its gradient on two clouds of 10 000 points, with marginals that were measured.

Uniform points of the unit cube against others shrunk to 0.9, eps = 0.005. GeomLoss halves the cost: the same problem
has its blur 0.05, and its value is half of ours. It runs at its defaults, which stop by no error; its row tells which
error that leaves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

import howfar
from benchmarks.harness import Contender, Job
from benchmarks.marginals import marginal_error

_EPS = 0.005
_BLUR = 0.05
_TOL = 1e-3
_PATIENCE_S = 120.0
"""A hundred thousand points are left out where, by the square of the sizes, they would take longer."""


def jobs(*, tiny: bool, long: bool) -> Iterator[Job]:
    """The size of the claim; ours alone at a hundred thousand points, and at a million where asked for."""
    pace: dict[str, float] = {}
    yield beside_geomloss(100 if tiny else 10_000, pace)
    if not tiny:
        yield alone(100_000, pace, math.inf if long else _PATIENCE_S)
    if long:
        yield alone(1_000_000, pace, math.inf)


def problem(n: int) -> tuple[Tensor, Tensor]:
    """The two clouds."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(n, 3, generator=generator) for _ in range(2))
    return x, 0.9 * y


def beside_geomloss(n: int, pace: dict[str, float]) -> Job:
    """Value and gradient in x; the error is that of the value, beside it the marginals of x against y."""
    x, y = problem(n)
    points = x.clone().requires_grad_()
    truth = float(howfar.sinkhorn_divergence(x.double(), y.double(), eps=_EPS, tol=1e-6))

    def ours() -> tuple[Tensor, Tensor]:
        value = howfar.sinkhorn_divergence(points, y, eps=_EPS, tol=_TOL)
        return value.detach(), torch.autograd.grad(value, points)[0]

    def geomloss(backend: str) -> tuple[Tensor, Tensor]:
        value = 2 * samples_loss(backend)(points, y)
        return value.detach(), torch.autograd.grad(value, points)[0]

    @cache
    def our_marginals() -> str:
        return _told(x, y, *howfar.transport(x, y, eps=_EPS, tol=_TOL).potentials)

    @cache
    def their_marginals(backend: str) -> str:
        f, g = samples_loss(backend, debias=False, potentials=True)(x, y)
        return _told(x, y, 2 * f.reshape(-1), 2 * g.reshape(-1))

    peers = [
        Contender(
            f"GeomLoss, {backend}",
            lambda backend=backend: geomloss(backend),
            needs=("geomloss", "pykeops"),
            at_defaults=True,
            at_least=claim,
            compiles=n < 1000,
            remark=lambda backend=backend: their_marginals(backend),
        )
        for backend, claim in (("online", 25.0), ("multiscale", 10.0))
    ]
    return Job(
        title=f"Sinkhorn divergence and its gradient, n = m = {n}, d = 3, float32, eps = {_EPS}",
        dtype=x.dtype,
        contenders=[Contender("howfar", ours, remark=our_marginals), *peers],
        error=lambda out: abs(float(out[0]) / truth - 1),
        budget=1e-2,
        error_is="of the value, relative to a float64 solve to 1e-6",
        work=float(n) * n,
        pace=pace,
    )


def alone(n: int, pace: dict[str, float], patience_s: float) -> Job:
    """Value and gradient of ours; the error is that of the marginals of x against y."""
    x, y = problem(n)
    points = x.clone().requires_grad_()

    def ours() -> Tensor:
        value = howfar.sinkhorn_divergence(points, y, eps=_EPS, tol=_TOL)
        return torch.autograd.grad(value, points)[0]

    claimed = "; claimed: a minute and 1 GiB at most" if n == 100_000 else ""
    return Job(
        title=f"Sinkhorn divergence and its gradient, n = m = {n}, d = 3, float32, eps = {_EPS}{claimed}",
        dtype=x.dtype,
        contenders=[
            Contender("howfar", ours, check=lambda: float(howfar.transport(x, y, eps=_EPS, tol=_TOL).marginal_error))
        ],
        error=lambda _: 0.0,
        budget=_TOL,
        error_is="of the marginals, L1",
        work=float(n) * n,
        pace=pace,
        patience_s=patience_s,
    )


def samples_loss(backend: str, **options: Any) -> Any:
    """GeomLoss at its defaults."""
    import pykeops
    from geomloss import SamplesLoss

    pykeops.set_verbose(False)
    return SamplesLoss("sinkhorn", p=2, blur=_BLUR, backend=backend, **options)


def _told(x: Tensor, y: Tensor, f: Tensor, g: Tensor) -> str:
    return f"marginals off by {marginal_error(x, y, f, g, _EPS):.1e}"
