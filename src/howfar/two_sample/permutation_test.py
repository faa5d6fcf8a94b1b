"""Do two samples come from one distribution? The permutation test, exact at any sample size."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, ShapeError, complaint, unknown_name
from howfar._progress import Progress, tell
from howfar.two_sample import statistics, ties
from howfar.two_sample.labels import labellings

Null: TypeAlias = Callable[[Tensor, Tensor], Tensor]

STATISTICS: dict[str, Callable[..., Tensor]] = {
    "mmd_fuse": statistics.mmd_fuse_null,
    "mmd2": statistics.mmd2_null,
    "energy_distance": statistics.energy_null,
}
"""Statistics with a form for all labellings at once."""

_RANDOM = ("mmd_fuse", "mmd2")


@dataclass(frozen=True)
class TwoSampleTest:
    """The outcome of a permutation test.

    Attributes:
        statistic: () observed, in the unit of the statistic.
        p_value: share of labellings whose statistic is at least as large, the observed one included: never 0.
        n_permutations: how many labellings beside the observed one.
        null: (n_permutations,) their statistics.
        name: of the statistic.
        exhaustive: whether these are all labellings there are, so that the p-value has no Monte Carlo error.
        n: rows of x.
        m: rows of y.
    """

    statistic: Tensor
    p_value: float
    n_permutations: int
    null: Tensor
    name: str
    exhaustive: bool
    n: int
    m: int

    def __repr__(self) -> str:
        return (
            f"TwoSampleTest({self.name}={float(self.statistic):.6g}, p_value={self.p_value:.6g}, n={self.n}, m={self.m}, "
            f"n_permutations={self.n_permutations}, exhaustive={self.exhaustive})"
        )


def two_sample_test(
    x: Any,  # (n, d)
    y: Any,  # (m, d)
    *,
    statistic: str | Callable[..., Any] = "mmd_fuse",
    n_permutations: int = 999,
    blocks: Any = None,
    strata: Any = None,
    generator: torch.Generator | None = None,
    **options: Any,
) -> TwoSampleTest:
    """Permutation test that x and y have one distribution: rejecting at p <= alpha errs at most a share alpha of times.

    The p-value is (1 + number of labellings with a statistic as large as the observed one) / (1 + number drawn)
    (Phipson and Smyth 2010), exact for every sample size and statistic; ties count against rejection. Where there are
    no more than 1 + `n_permutations` different labellings, each is taken once.

    Args:
        x: points (n, d).
        y: points (m, d).
        statistic: `"mmd_fuse"` (Biggs, Schrab, Gretton 2023: twenty kernels at once, no bandwidth to choose),
            `"mmd2"`, `"energy_distance"`, each computed for all labellings in one pass over the pairs with
            O((n + m) n_permutations) memory; or any callable (x, y) -> number, large for samples that differ, such as
            a distance of this package, called anew for every labelling.
        n_permutations: labellings beside the observed one; 999 resolve p-values down to 0.001.
        blocks: for rows that are not independent: the block (donor, day) of each row, as a pair of sequences for x and
            y or one for x then y. Blocks change sides as a whole.
        strata: in the same form, groups (site, batch) within which sides are exchanged, so that a difference between
            groups, or in how x and y are spread over them, is not taken for a difference of x and y.
        generator: source of the labellings, and of the points that fix bandwidths beyond 2048; torch's own when left
            out.
        options: passed to the statistic: `exponent` of "energy_distance"; `kernel`, `bandwidth`, `estimator` of
            "mmd2"; `n_bandwidths` of "mmd_fuse"; any of a callable's.

    Raises:
        ShapeError: batched points, or fewer than two rows on a side for the MMDs.
        DomainError: a block with rows on both sides, or a statistic that is not a finite number.
        UnknownName: a statistic that is not in the list.

    Example:
        >>> import torch, howfar
        >>> x, y = torch.arange(5.0), torch.arange(5.0) + 4
        >>> howfar.two_sample_test(x, y, statistic="energy_distance").p_value
        0.0158...
    """
    first, second = _checks.check_points(x, "x").detach(), _checks.check_points(y, "y").detach()
    _checks.check_same_space(first, second)
    if _checks.unseen(first) or _checks.unseen(second):
        _checks.refuse_transforms("two_sample_test")
    for points, name in ((first, "x"), (second, "y")):
        if points.ndim != 2:
            fix = "Test one batch element at a time."
            raise ShapeError(complaint(name, "one cloud (n, d)", f"shape {tuple(points.shape)}", fix))
    _checks.check_generator(generator)
    name, null_of = _null(statistic, options, generator)
    labels, exhaustive = labellings(len(first), len(second), n_permutations, generator, blocks=blocks, strata=strata)
    pooled = torch.cat([first, second])
    with Progress("permutation test"):
        values = null_of(pooled, labels)
    if not bool(torch.isfinite(values).all()):
        raise DomainError(
            complaint("statistic", "a finite number for every labelling", "NaN or infinity", "Pass another statistic.")
        )
    return TwoSampleTest(
        statistic=values[0],
        p_value=p_value(values),
        n_permutations=labels.shape[1] - 1,
        null=values[1:],
        name=name,
        exhaustive=exhaustive,
        n=len(first),
        m=len(second),
    )


def p_value(values: Tensor) -> float:
    """Share of `values` (1 + B,), the observed one first, that are at least as large as it, up to rounding."""
    return float((values >= values[0] - ties.slack(values)).double().mean())


def _null(
    statistic: str | Callable[..., Any], options: dict[str, Any], generator: torch.Generator | None
) -> tuple[str, Null]:
    if callable(statistic):
        name = getattr(statistic, "__name__", type(statistic).__name__)
        return name, partial(_one_by_one, partial(statistic, **options))
    if statistic not in STATISTICS:
        raise unknown_name("statistic", statistic, STATISTICS)
    known = set(inspect.signature(STATISTICS[statistic]).parameters) - {"points", "labels", "generator"}
    for option in options:
        if option not in known:
            raise unknown_name(f"{statistic} option", option, known)
    if statistic in _RANDOM:
        options = {**options, "generator": generator}
    return statistic, partial(STATISTICS[statistic], **options)


@torch.no_grad()
def _one_by_one(statistic: Callable[[Tensor, Tensor], Any], pooled: Tensor, labels: Tensor) -> Tensor:
    labels = labels.to(pooled.device)
    values: list[Tensor] = []
    for side in labels.T:
        tell(f"labelling {len(values) + 1} of {labels.shape[1]}", len(values) / labels.shape[1])
        values.append(_checks.as_tensor(statistic(pooled[side], pooled[~side]), "statistic"))
    if values[0].numel() != 1:
        raise ShapeError(
            complaint("statistic", "one number", f"shape {tuple(values[0].shape)}", "Return a scalar from (x, y).")
        )
    return torch.stack([v.reshape(()) for v in values])
