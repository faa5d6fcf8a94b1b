"""Claim: one half-step of Sinkhorn on points, without the n x m matrix, at the limit of the processor.

softmin_i = -eps log sum_j exp((h_j - |x_i - y_j|^2) / eps).
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import peers
from benchmarks.clouds import clouds
from benchmarks.harness import Contender, Job, ceiling
from howfar import ops

_KEOPS = {3: 40.0, 16: 25.0, 64: 25.0}
_SHARE = {3: 0.5, 64: 0.5}


def jobs(*, tiny: bool, long: bool) -> Iterator[Job]:  # noqa: ARG001
    """The sizes of the claim."""
    for d in (3,) if tiny else (3, 16, 64):
        yield job(200 if tiny else 10_000, d)


def job(n: int, d: int, pace: dict[str, float] | None = None, patience_s: float = 20.0) -> Job:
    """n points against n in d dimensions."""
    c = clouds(n, d)
    x, y, h, eps = c.x, c.y, c.h, c.eps
    rows, columns, potential = c.wide()
    truth = peers.dense_softmin(rows, columns, potential, eps)
    contenders = [
        Contender("howfar", lambda: ops.softmin(x, y, h, eps=eps)),
        Contender("torch's attention", lambda: peers.attention_softmin(x, y, h, eps), at_least=2.0),
        Contender("torch in blocks", lambda: peers.blocked_softmin(x, y, h, eps)),
        Contender(
            "KeOps",
            lambda: peers.keops_softmin(x, y, h, eps),
            needs=("pykeops",),
            at_least=_KEOPS.get(d),
            compiles=True,
        ),
    ]
    if n <= 10_000:
        contenders.insert(3, Contender("torch, dense", lambda: peers.dense_softmin(x, y, h, eps)))
    return Job(
        title=f"softmin, {c.sizes}",
        dtype=x.dtype,
        contenders=contenders,
        error=lambda value: c.error(value, truth),
        budget=1e-5,
        pairs=float(n) * n,
        ceiling=ceiling(d),
        least_share=_SHARE.get(d),
        pace={} if pace is None else pace,
        patience_s=patience_s,
    )
