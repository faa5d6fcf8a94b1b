"""Claim: Gaussian sums over all pairs: one column of weights, and 500 columns under five bandwidths.

sum_j exp(-|x_i - y_j|^2 / (2 s^2)) w_j; the widths lie around the root of the mean squared distance.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.clouds import clouds
from benchmarks.harness import Contender, Job, ceiling
from howfar import kernels, ops

_KEOPS = {3: 25.0, 64: 20.0}
_BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def jobs(*, tiny: bool, long: bool) -> Iterator[Job]:  # noqa: ARG001
    """The sizes of the claim."""
    for d in (3,) if tiny else (3, 64):
        yield job(200 if tiny else 10_000, d)
    yield from many(*((100, 10, 7) if tiny else (4000, 10, 500)))


def job(n: int, d: int, pace: dict[str, float] | None = None, patience_s: float = 20.0) -> Job:
    """One column of weights."""
    c = clouds(n, d)
    x, y, s = c.x, c.y, (d / 6) ** 0.5
    w = torch.rand(n, 1, generator=torch.Generator().manual_seed(1))
    rows, columns, _ = c.wide()
    truth = peers.dense_gaussian(rows, columns, w.double(), s)
    contenders = [
        Contender("howfar", lambda: ops.kernel_sum(x, y, w, kernel=kernels.Gaussian(s))),
        Contender("torch in blocks", lambda: peers.blocked_gaussian(x, y, w, s)),
        Contender(
            "KeOps",
            lambda: peers.keops_gaussian(x, y, w, s),
            needs=("pykeops",),
            at_least=_KEOPS.get(d),
            compiles=True,
        ),
    ]
    if n <= 10_000:
        contenders.append(Contender("torch, dense", lambda: peers.dense_gaussian(x, y, w, s)))
        contenders.append(Contender("scikit-learn, dense", lambda: _sklearn(x, y, w, s), needs=("sklearn",)))
    return Job(
        title=f"kernel_sum, gaussian, one column, {c.sizes}",
        dtype=x.dtype,
        contenders=contenders,
        error=lambda value: c.error(value, truth),
        budget=1e-5,
        pairs=float(n) * n,
        ceiling=ceiling(d + 1),
        pace={} if pace is None else pace,
        patience_s=patience_s,
    )


def many(n: int, d: int, columns: int) -> Iterator[Job]:
    """Many columns and five bandwidths: each with a result of its own, and their sum."""
    c = clouds(n, d)
    x, y = c.x, c.y
    widths = [factor * (d / 6) ** 0.5 for factor in _BANDWIDTHS]
    gaussians = [kernels.Gaussian(s) for s in widths]
    w = torch.rand(n, columns, generator=torch.Generator().manual_seed(1))
    rows, points, _ = c.wide()
    truth = torch.stack([peers.dense_gaussian(rows, points, w.double(), s) for s in widths])

    def error_of_each(value: Tensor) -> float:
        return float(((value[:, c.checked].double() - truth).abs() / truth.abs().amax((1, 2), keepdim=True)).max())

    title = f"kernel_sum, gaussian, {columns} columns, {len(widths)} bandwidths, {c.sizes}"
    yield Job(
        title=f"{title}, each its own result",
        dtype=x.dtype,
        contenders=[
            Contender("howfar", lambda: ops.kernel_sum(x, y, w, kernel=kernels.Stack(gaussians))),
            Contender("torch, distances once", lambda: _each(x, y, w, widths), at_least=1.0),
        ],
        error=error_of_each,
        budget=1e-5,
        pairs=float(n) * n,
        ceiling=ceiling((d + len(widths) * columns) // len(widths)),
    )
    yield Job(
        title=f"{title}, their sum",
        dtype=x.dtype,
        contenders=[
            Contender("howfar", lambda: ops.kernel_sum(x, y, w, kernel=kernels.Sum(gaussians))),
            Contender("torch, distances once", lambda: _each(x, y, w, widths).sum(0), at_least=3.0),
            Contender("torch, kernels added first", lambda: _added(x, y, w, widths)),
        ],
        error=lambda value: c.error(value, truth.sum(0)),
        budget=1e-5,
        pairs=float(n) * n,
        ceiling=ceiling(d + columns),
    )


def _distances(x: Tensor, y: Tensor) -> Tensor:
    centre = y.mean(0)
    x, y = x - centre, y - centre
    bias = x.square().sum(1, keepdim=True) + y.square().sum(1)
    return torch.addmm(bias, x, y.T, alpha=-2)


def _each(x: Tensor, y: Tensor, w: Tensor, widths: list[float]) -> Tensor:
    distances = _distances(x, y)
    scratch = torch.empty_like(distances)
    out = x.new_empty(len(widths), len(x), w.shape[1])
    for result, s in zip(out, widths, strict=True):
        torch.mul(distances, -0.5 / s**2, out=scratch)
        torch.matmul(scratch.exp_(), w, out=result)
    return out


def _added(x: Tensor, y: Tensor, w: Tensor, widths: list[float]) -> Tensor:
    distances = _distances(x, y)
    total, scratch = torch.zeros_like(distances), torch.empty_like(distances)
    for s in widths:
        torch.mul(distances, -0.5 / s**2, out=scratch)
        total += scratch.exp_()
    return total @ w


def _sklearn(x: Tensor, y: Tensor, w: Tensor, s: float) -> Tensor:
    from sklearn.metrics.pairwise import rbf_kernel

    return torch.from_numpy(rbf_kernel(x.numpy(), y.numpy(), gamma=0.5 / s**2) @ w.numpy())
