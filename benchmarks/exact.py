"""Claim: exact transport with a proof, in memory that grows with the points and not with the pairs.

The error of ours is the gap of its certificate; that of a peer is how far its value is from ours. Both relative.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

import howfar
from benchmarks.harness import Contender, Job


def jobs(*, tiny: bool, long: bool) -> Iterator[Job]:
    """The sizes of the claim; ours alone at a hundred thousand points where asked for."""
    yield job(60 if tiny else 10_000, 3, weighted=False, claim=10.0)
    yield job(60 if tiny else 10_000, 3, weighted=True, claim=3.0)
    if not tiny:
        yield job(4000, 64, weighted=False, claim=3.0, assignment=True)
    if long:
        yield job(100_000, 3, weighted=False, claim=None)


def job(n: int, d: int, *, weighted: bool, claim: float | None, assignment: bool = False) -> Job:
    """Uniform points of the unit cube in float64, of uniform or of random weights; `claim` None leaves peers out."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(n, d, generator=generator, dtype=torch.float64) for _ in range(2))
    a, b = (torch.rand(n, generator=generator, dtype=torch.float64) + 0.1 for _ in range(2))
    a, b = (a / a.sum(), b / b.sum()) if weighted else (torch.full_like(a, 1 / n), torch.full_like(b, 1 / n))
    known: dict[str, float] = {}

    def ours() -> tuple[Tensor, Tensor]:
        result = howfar.transport(x, y, a=a if weighted else None, b=b if weighted else None)
        return result.bounds

    def pot() -> tuple[Tensor]:
        import ot as pot_library

        return (pot_library.emd2(a, b, pot_library.dist(x, y), numItermax=10**8),)

    def scipy() -> tuple[Tensor]:
        from scipy.optimize import linear_sum_assignment

        cost = torch.cdist(x, y).square()
        rows, columns = linear_sum_assignment(cost.numpy())
        return (cost[rows, columns].mean(),)

    def error(values: tuple[Tensor, ...]) -> float:
        value = float(values[-1])
        if len(values) == 2:
            known["value"] = value
        return max(abs(float(v) - known["value"]) for v in values) / value

    contenders = [Contender("howfar", ours)]
    if claim is not None:
        contenders.append(Contender("POT, emd2", pot, needs=("ot",), at_least=claim))
    if assignment:
        contenders.append(Contender("SciPy, linear_sum_assignment", scipy, needs=("scipy",)))
    return Job(
        title=f"exact transport, n = m = {n}, d = {d}, {'random' if weighted else 'uniform'} weights, float64",
        dtype=x.dtype,
        contenders=contenders,
        error=error,
        budget=1e-9,
        error_is="gap of ours, distance of a peer's value from it",
    )
