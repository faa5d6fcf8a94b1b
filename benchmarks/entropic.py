"""Claim: entropic transport to a promised marginal error: at a moderate temperature in time, at a low one in iterations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor

import howfar
from benchmarks.harness import Contender, Job
from benchmarks.marginals import loosest, marginal_error
from howfar import ops
from howfar.geometry import PointCloud

_BUDGET = 1e-4
_THRESHOLDS = (3e-4, 1e-4, 3e-5, 1e-5, 3e-6)

Potentials = tuple[Tensor, Tensor]


def jobs(*, tiny: bool, long: bool) -> Iterator[Job]:  # noqa: ARG001
    """Both claims."""
    yield moderate(*((100, 5) if tiny else (4096, 64)))
    yield low(*((60, 0.01) if tiny else (2000, 0.001)))


def uniform(n: int, d: int) -> tuple[Tensor, Tensor]:
    """Two clouds of the unit cube."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, d, generator=generator), torch.rand(n, d, generator=generator)


def moderate(n: int, d: int) -> Job:
    """Potentials at 5 % of the mean cost, everyone at the loosest setting that keeps the marginal error."""
    x, y = uniform(n, d)
    eps = 0.05 * float(torch.cdist(x.double(), y.double()).square().mean())
    error = lambda potentials: marginal_error(x, y, *potentials, eps)
    # Stopped a little before, as the last digits of a float32 error are its own.
    tol = 0.9 * _BUDGET
    by_ott = loosest(_THRESHOLDS, lambda t: error(ott(x, y, eps, t)), _BUDGET)
    by_pot = loosest(_THRESHOLDS, lambda t: error(pot(x, y, eps, t / math.sqrt(n))), _BUDGET)
    return Job(
        title=f"entropic transport, n = m = {n}, d = {d}, float32, eps = 5 % of the mean cost",
        dtype=x.dtype,
        contenders=[
            Contender("howfar", lambda: howfar.transport(x, y, eps=eps, tol=tol).potentials),
            Contender(
                f"OTT-JAX, jitted, threshold {by_ott:g}",
                lambda: ott(x, y, eps, by_ott),
                needs=("ott", "jax"),
                at_least=5.0,
                compiles=True,
            ),
            Contender(
                f"POT, sinkhorn_log on torch, {by_pot:g}",
                lambda: pot(x, y, eps, by_pot / math.sqrt(n)),
                needs=("ot",),
                at_least=10.0,
            ),
        ],
        error=error,
        budget=_BUDGET,
        error_is="of the marginals, L1",
    )


def low(n: int, share: float) -> Job:
    """Iterations of ours, annealing included, and of the plain alternation from zero."""
    x, y = uniform(n, 2)
    eps = share * float(torch.cdist(x.double(), y.double()).square().mean())
    counts: dict[str, int] = {}

    def ours() -> Potentials:
        with _Counted() as counted:
            result = howfar.transport(x, y, eps=eps, tol=0.9 * _BUDGET, max_iter=20_000)
        # A solve in cache counts its own.
        counts["howfar"] = max(counted.softmins // 2, result.n_iter)
        return result.potentials

    def plain() -> Potentials:
        f, g, counts["plain"] = alternation(x, y, eps, 15 * counts["howfar"])
        return f, g

    def said() -> str:
        ratio = counts["plain"] / counts["howfar"]
        stopped = ">= " if counts["plain"] == 15 * counts["howfar"] else ""
        return f"{stopped}{counts['plain']} iterations, {stopped}{ratio:.1f} times ours (claimed: at least 10)"

    return Job(
        title=f"entropic transport, n = m = {n}, d = 2, float32, eps = {share:.1%} of the mean cost",
        dtype=x.dtype,
        contenders=[
            Contender("howfar", ours, remark=lambda: f"{counts['howfar']} iterations"),
            Contender("howfar, plain alternation", plain, at_defaults=True, remark=said),
        ],
        error=lambda potentials: marginal_error(x, y, *potentials, eps),
        budget=_BUDGET,
        error_is="of the marginals, L1",
    )


def alternation(x: Tensor, y: Tensor, eps: float, most: int) -> tuple[Tensor, Tensor, int]:
    """f and g in turn, from zero, until the columns are right; at most so many times."""
    log_n, log_m = math.log(len(x)), math.log(len(y))
    g = torch.zeros(len(y))
    for n_iter in range(1, most + 1):
        f = ops.softmin(x, y, g - eps * log_m, eps=eps)
        update = ops.softmin(y, x, f - eps * log_n, eps=eps)
        error = float((torch.exp((g - update) / eps) - 1).abs().mean())
        if error <= 0.9 * _BUDGET or n_iter == most:
            return f, g, n_iter
        g = update
    raise AssertionError


class _Counted:
    """Counts the soft minima of point clouds meanwhile."""

    def __enter__(self) -> Self:
        self.softmins = 0
        self._softmin = PointCloud.softmin

        def counted(cloud: PointCloud, *args: Any, **options: Any) -> Tensor:
            self.softmins += 1
            return self._softmin(cloud, *args, **options)

        PointCloud.softmin = counted  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        PointCloud.softmin = self._softmin  # type: ignore[method-assign]


def ott(x: Tensor, y: Tensor, eps: float, threshold: float) -> Potentials:
    """Jitted; its plan has no weights beside the exponential."""
    import jax

    out = _ott_solver(eps, threshold)(jax.numpy.asarray(x.numpy()), jax.numpy.asarray(y.numpy()))
    f, g = (torch.from_numpy(jax.device_get(t).copy()) for t in out)
    return f + eps * math.log(len(x)), g + eps * math.log(len(y))


@cache
def _ott_solver(eps: float, threshold: float) -> Any:
    import jax
    from ott.geometry import pointcloud
    from ott.solvers import linear

    def solve(x: Any, y: Any) -> Any:
        out = linear.solve(pointcloud.PointCloud(x, y, epsilon=eps), threshold=threshold, max_iterations=5000)
        return out.f, out.g

    return jax.jit(solve)


def pot(x: Tensor, y: Tensor, eps: float, threshold: float) -> Potentials:
    """From the points; its plan has no weights beside the exponential."""
    import ot as pot_library

    a, b = x.new_full((len(x),), 1 / len(x)), y.new_full((len(y),), 1 / len(y))
    cost = pot_library.dist(x, y)
    log = pot_library.bregman.sinkhorn_log(a, b, cost, eps, numItermax=5000, stopThr=threshold, log=True, warn=False)[1]
    return eps * (log["log_u"] + math.log(len(x))), eps * (log["log_v"] + math.log(len(y)))
