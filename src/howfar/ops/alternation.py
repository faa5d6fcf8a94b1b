"""Sinkhorn's alternation of small problems, whole, in the compiled core: every iteration of a problem inside cache.

The mathematics is that of the solver in `optimal_transport/sinkhorn.py`, whose steps are the specification; a test
draws problems and holds the two together. Here an update is a product with the kernel exp((F + G - C) / eps) about
references F, G that follow the potentials, so that an iteration costs two multiply-adds a pair and no exponential.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from howfar import _native
from howfar.costs import Cost
from howfar.ops import backends, compiled
from howfar.ops.compiled import Base, Clouds

_LARGEST = 2**19
"""Bytes of a cost matrix that lies in a second-level cache beside its kernel."""
_SECONDS = 0.2
"""About the longest call: the time after which Ctrl-C is answered."""


@dataclass(frozen=True)
class Weighing:
    """What is transported, at which temperature, and when to stop.

    Attributes:
        a: weights (..., n).
        b: weights (..., m).
        g: (..., m) where to start, in units of the cost.
        start: (...) the first temperature, halved at each step down to eps.
        eps: (...) temperature, in units of the cost.
        rho: weight of the marginal penalties, or None for hard marginals.
        symmetric: whether both sides are one measure, so that f = g.
        tol: stop at this marginal error; 0 never.
        count: most iterations at eps; fewer where the error falls too slowly for them to be enough.
    """

    a: Tensor
    b: Tensor
    g: Tensor
    start: Tensor
    eps: Tensor
    rho: float | None
    symmetric: bool
    tol: float
    count: int


@dataclass(frozen=True)
class Alternated:
    """Potentials f (..., n) and g (..., m), their marginal error (...) and the iterations (...) they took."""

    f: Tensor
    g: Tensor
    error: Tensor
    iterations: Tensor


def between_points(x: Tensor, y: Tensor, cost: Cost, backend: str, task: Weighing) -> Alternated | None:
    """The alternation between two clouds; None where it does not fit or another backend has to run it."""
    n, m = x.shape[-2], y.shape[-2]
    if not _fits(n, m, x.dtype) or not _runs(backend, x, y, task):
        return None
    base = compiled.base_of(cost)
    if not isinstance(base, Base):
        return on_matrix(cost.matrix(x, y), task) if backend == "auto" else None
    clouds = compiled.arrange(base, x, y, 1 / float(task.eps.min()))
    return _run(clouds, None, task) if _fits(n, m, clouds.x.dtype) else None


def on_matrix(matrix: Tensor, task: Weighing) -> Alternated | None:
    """The alternation on a cost matrix (..., n, m); None where it does not fit or there is no compiled core."""
    n, m = matrix.shape[-2:]
    return _run(None, matrix, task) if _fits(n, m, matrix.dtype) and _runs("auto", matrix, matrix, task) else None


def _fits(n: int, m: int, dtype: torch.dtype) -> bool:
    return dtype in (torch.float32, torch.float64) and n * m * dtype.itemsize <= _LARGEST


def _runs(backend: str, x: Tensor, y: Tensor, task: Weighing) -> bool:
    if backend not in ("auto", "cpu") or x.device.type != "cpu":
        return False
    reason = compiled.why_not_these(x, y, task.a, task.b, task.g) or _native.why_no_kernels()
    return backends.choose("auto", "softmin", x.device, lambda: reason) == "cpu"


def _run(clouds: Clouds | None, matrix: Tensor | None, task: Weighing) -> Alternated | None:
    held = matrix if clouds is None else clouds.x
    assert held is not None
    dtype, batch = held.dtype, task.eps.shape
    (n, m), size = (task.a.shape[-1], task.b.shape[-1]), dtype.itemsize
    f, g = held.new_empty(*batch, n), task.g.to(dtype).expand(*batch, m).clone(memory_format=torch.contiguous_format)
    start, eps = (t.double().expand(batch).contiguous() for t in (task.start, task.eps))
    error, iterations = torch.empty_like(eps), torch.empty_like(eps, dtype=torch.int64)
    tensors = {"a": (task.a.to(dtype), 1), "b": (task.b.to(dtype), 1)}
    if clouds is None:
        tensors["cost"] = (held, 2)
    else:
        tensors |= {"x": (clouds.x, 2), "y": (clouds.y, 2)}
    flat = {
        name: compiled.flat(t.expand(*batch, *t.shape[t.ndim - axes :]), axes) for name, (t, axes) in tensors.items()
    }
    pairs = _native.Pairs(n=n, m=m, row_end=n, threads=_native.threads())
    call = _native.Alternation(
        count=task.count, factor=1.0, tol=task.tol, rho=task.rho or 0.0, symmetric=int(task.symmetric)
    )
    if clouds is not None:
        pairs.d, pairs.form, pairs.exponent, pairs.p = (
            clouds.x.shape[-1],
            compiled.FORMS[clouds.form],
            clouds.exponent,
            clouds.p,
        )
        call.factor = clouds.factor
    problems = max(1, int(_SECONDS * pairs.threads / _seconds(clouds, n, m, task.count, size)))
    for first in range(0, batch.numel(), problems):
        pairs.batch = min(problems, batch.numel() - first)
        pairs.scale = eps.data_ptr() + 8 * first
        for name, (tensor, step) in flat.items():
            on = pairs if name in ("x", "y") else call
            setattr(on, name, tensor.data_ptr() + first * step * size)
            setattr(on, f"{name}_step", step)
        call.pairs = pairs
        call.f, call.g = f.data_ptr() + first * n * size, g.data_ptr() + first * m * size
        call.start, call.eps = start.data_ptr() + 8 * first, eps.data_ptr() + 8 * first
        call.error, call.iterations = error.data_ptr() + 8 * first, iterations.data_ptr() + 8 * first
        _native.call("alternate", dtype == torch.float32, call)
    if bool((iterations < 0).any()):
        return None
    like = task.a.dtype
    return Alternated(f.to(like), g.to(like), error.to(task.eps), iterations)


def _seconds(clouds: Clouds | None, n: int, m: int, count: int, size: int) -> float:
    """About how long one problem takes on one thread of a slow processor."""
    features = 1 if clouds is None else clouds.x.shape[-1] * (20 if clouds.form == "minkowski" else 2)
    return n * m * (features + 200 + 2 * count) * (size / 4) / compiled.speed()
