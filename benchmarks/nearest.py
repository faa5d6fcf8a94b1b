"""Claim: the k nearest of all points by brute force, with the indices of float64.

The error of an answer is that of the distances at the indices that it gives, evaluated in float64: 0 up to ties.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.clouds import clouds
from benchmarks.harness import Contender, Job, ceiling
from howfar import ops

_TORCH = {3: 10.0, 64: 3.0}
_TREE_FEATURES = 16
"""Beyond, a tree visits nearly every point."""


def jobs(*, tiny: bool, long: bool) -> Iterator[Job]:  # noqa: ARG001
    """The sizes of the claim."""
    for d in (3,) if tiny else (3, 64):
        for k in (1, 16):
            yield job(200 if tiny else 20_000, d, k)


def job(n: int, d: int, k: int, pace: dict[str, float] | None = None, patience_s: float = 20.0) -> Job:
    """k neighbours of n points among n in d dimensions."""
    c = clouds(n, d)
    x, y = c.x, c.y
    rows, columns, _ = c.wide()
    truth = torch.cdist(rows, columns, compute_mode="donot_use_mm_for_euclid_dist").square()
    truth = truth.topk(k, largest=False).values

    def error(indices: Tensor) -> float:
        found = (rows.unsqueeze(1) - columns[indices[c.checked]]).square().sum(-1)
        return float(((found - truth).abs() / truth).max())

    contenders = [
        Contender("howfar", lambda: ops.nearest(x, y, k=k)[1]),
        Contender("torch in blocks", lambda: peers.blocked_nearest(x, y, k), at_least=_TORCH.get(d)),
        Contender("scikit-learn, brute", lambda: peers.sklearn_nearest(x, y, k), needs=("sklearn",), at_least=2.0),
        Contender("KeOps", lambda: peers.keops_nearest(x, y, k), needs=("pykeops",), compiles=True),
    ]
    if d <= _TREE_FEATURES:
        tree = lambda: peers.tree_nearest(x, y, k)
        contenders.append(Contender("SciPy's k-d tree (not all pairs)", tree, needs=("scipy",)))
    return Job(
        title=f"nearest, k = {k}, {c.sizes}",
        dtype=x.dtype,
        contenders=contenders,
        error=error,
        budget=1e-3,
        error_is="of the distances found, in float64",
        pairs=float(n) * n,
        ceiling=ceiling(d, exponential=False),
        pace={} if pace is None else pace,
        patience_s=patience_s,
    )
