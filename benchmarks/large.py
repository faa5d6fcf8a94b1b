"""Claim: ten times the points take a hundred times as long, and no memory that grows with the pairs."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from benchmarks import peers
from benchmarks.clouds import Clouds, clouds
from benchmarks.harness import Contender, Job
from howfar import ops

_TIMES = 10
_MEMORY_MIB = 100


def jobs(*, tiny: bool, long: bool) -> Iterator[Job]:  # noqa: ARG001
    """A hundred calls on the small clouds against one call on the large ones, each timed as one."""
    n = 100 if tiny else 10_000
    small, large = clouds(n, 3), clouds(_TIMES * n, 3)
    truths = {len(c.x): peers.dense_softmin(*c.wide(), c.eps) for c in (small, large)}

    def softmin(c: Clouds) -> Tensor:
        return ops.softmin(c.x, c.y, c.h, eps=c.eps)

    def hundred() -> Tensor:
        for _ in range(_TIMES**2 - 1):
            softmin(small)
        return softmin(small)

    def error(value: Tensor) -> float:
        return (small if len(value) == n else large).error(value, truths[len(value)])

    yield Job(
        title=f"softmin, {large.sizes}; its memory is to grow by less than {_MEMORY_MIB} MiB",
        dtype=small.x.dtype,
        contenders=[
            Contender(f"howfar, n = {n}, {_TIMES**2} times", hundred),
            Contender(f"howfar, n = {_TIMES * n}", lambda: softmin(large), at_most=1.25),
        ],
        error=error,
        budget=1e-5,
    )
