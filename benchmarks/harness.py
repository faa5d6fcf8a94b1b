"""Measures contenders for one job side by side, and prints no speed of an answer that is wrong.

The contenders run in turn, A B A B, on the same data in the same process with the same threads, so that a machine that
slows down slows all of them. A ratio is the median over the rounds of the two times of one round.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from howfar import _native

_SLOW_S = 5.0
"""A first call that takes longer is warm-up, check and measurement in one."""
_SHORTEST_S = 0.01
"""Of one timing: shorter calls are repeated."""
_BRIEF_S = 0.5
"""A call up to so long is made once before it is timed: the first after another contender pays for what that one left,
memory on its way back to the system, cold caches."""
_REST_S = 0.1
"""Before it: threads of other libraries spin for a while after their work, on the processors that the next one needs."""


@dataclass(frozen=True)
class Contender:
    """One implementation: a call that does the whole job, and what must be installed for it.

    Attributes:
        name: for the table; ours come first and start with "howfar".
        run: does the job once.
        needs: the modules it imports.
        check: its error, where that takes more than what `run` returns.
        at_defaults: timed though its error is above the budget, as it is what the peer gives by itself.
        at_least: the claim: how many times ours it takes, at least.
        at_most: the claim on a variant of ours: how many times the first contender it takes, at most.
        compiles: whether the first call is longer than those after it.
        remark: what else to say of it, asked for at the end.
    """

    name: str
    run: Callable[[], Any]
    needs: tuple[str, ...] = ()
    check: Callable[[], float] | None = None
    at_defaults: bool = False
    at_least: float | None = None
    at_most: float | None = None
    compiles: bool = False
    remark: Callable[[], str] | None = None

    @property
    def ours(self) -> bool:
        """Whether it is no peer."""
        return self.name.startswith("howfar")

    def missing(self) -> str:
        """The modules that are not installed, separated by commas; empty when it can run."""
        return ", ".join(module for module in self.needs if importlib.util.find_spec(module) is None)


@dataclass(frozen=True)
class Job:
    """What is computed, by whom, and how exactly: the first contender is ours.

    Attributes:
        title: what, and its sizes.
        dtype: of the data.
        contenders: ours first.
        error: of what a contender returns.
        budget: the largest error whose speed counts.
        error_is: what the error measures.
        pairs: how many pairs (i, j) one run goes over; 0 where that says nothing.
        ceiling: pairs a second that the arithmetic alone allows; asked in every round.
        least_share: the claim: of the ceiling, what ours reaches at least.
        work: what time grows with; the pairs where left out.
        pace: contender -> seconds for each unit of work, of smaller jobs of a series; a run that would take longer
            than `patience_s` by it is left out.
        patience_s: the longest call to wait for.
    """

    title: str
    dtype: torch.dtype
    contenders: Sequence[Contender]
    error: Callable[[Any], float]
    budget: float
    error_is: str = "relative to float64"
    pairs: float = 0.0
    ceiling: Callable[[], float] | None = None
    least_share: float | None = None
    work: float = 0.0
    pace: dict[str, float] = field(default_factory=dict)
    patience_s: float = 1200.0

    def expected_s(self, contender: Contender) -> float:
        """How long one run would take, by the pace of smaller jobs; 0 where none is known."""
        return self.pace.get(contender.name, 0.0) * (self.work or self.pairs)

    def remember(self, contender: Contender, seconds: float) -> None:
        """For the larger jobs of the series."""
        if work := self.work or self.pairs:
            self.pace[contender.name] = seconds / work


@dataclass(frozen=True)
class Row:
    """One contender's outcome; the times are None unless it ran and its error is within the budget."""

    contender: str
    error: float | None = None
    median_s: float | None = None
    quartiles_s: tuple[float, float] | None = None
    rounds: int = 0
    times_ours: float | None = None
    pairs_per_s: float | None = None
    share_of_ceiling: float | None = None
    memory_mib: float | None = None
    claim: str = ""
    kept: bool | None = None
    note: str = ""


@dataclass
class _Clock:
    contender: Contender
    error: float
    seconds: list[float] = field(default_factory=list)
    memory_mib: float | None = None
    repeats: int = 1
    brief: bool = False

    def time(self) -> Any:
        if self.brief:
            time.sleep(_REST_S)
            self.contender.run()
        base = _restart_peak()
        start = time.perf_counter()
        for _ in range(self.repeats):
            out = self.contender.run()
        self.seconds.append((time.perf_counter() - start) / self.repeats)
        if base is not None:
            grown = _status("VmHWM") - base
            self.memory_mib = grown if self.memory_mib is None else max(self.memory_mib, grown)
        return out


def measure(job: Job, *, rounds: int, peers: bool = True, claims: bool = True, budget_s: float = 12.0) -> list[Row]:
    """One row per contender, ours first. The first call of each is its warm-up and its accuracy check.

    Args:
        job: what is measured.
        rounds: how often each contender runs, ...
        peers: whether others than ours run at all.
        claims: whether the sizes are those that anything is claimed for.
        budget_s: ... unless it has taken so long already.
    """
    rows: dict[str, Row | _Clock] = {}
    for contender in job.contenders:
        if peers or contender.ours:
            rows[contender.name] = _started(job, contender)
    clocks = [row for row in rows.values() if isinstance(row, _Clock)]
    ceilings: list[float] = []
    for _ in range(rounds):
        if job.ceiling is not None:
            ceilings.append(job.ceiling())
        for clock in clocks:
            if not clock.seconds or (clock.seconds[0] < _SLOW_S and sum(clock.seconds) < budget_s):
                clock.time()
    first = rows[job.contenders[0].name]
    ours = first.seconds if isinstance(first, _Clock) else None
    ceiling = statistics.median(ceilings) if ceilings else None
    found = [_finished(job, row, ours, ceiling) if isinstance(row, _Clock) else row for row in rows.values()]
    return found if claims else [replace(row, claim="", kept=None) for row in found]


def _started(job: Job, contender: Contender) -> Row | _Clock:
    """The contender after its first call, or the row that says why it is not timed."""
    if missing := contender.missing():
        return Row(contender.name, note=f"not measured: {missing} is not installed")
    expected = job.expected_s(contender)
    if expected > job.patience_s:
        return Row(contender.name, note=f"left out: a call would take about {expected:.0f} s")
    clock = _Clock(contender, 0.0)
    try:
        out = clock.time()
        job.remember(contender, clock.seconds[0])
        clock.error = job.error(out) if contender.check is None else contender.check()
    except Exception as error:
        if contender.ours:
            raise
        return Row(contender.name, note=f"failed: {type(error).__name__}: {str(error).splitlines()[0][:80]}")
    if not (clock.error <= job.budget or contender.at_defaults):  # a NaN is not
        return Row(contender.name, error=clock.error, note=f"not timed: its error is above {job.budget:.0e}")
    if contender.compiles or clock.seconds[0] < _SLOW_S:
        # The second call is warm, and tells how often the call fits into a timing.
        start = time.perf_counter()
        contender.run()
        second = time.perf_counter() - start
        clock.repeats, clock.brief = max(1, round(_SHORTEST_S / second)), second < _BRIEF_S
        clock.seconds.clear()
    return clock


def _finished(job: Job, clock: _Clock, ours: list[float] | None, ceiling: float | None) -> Row:
    contender, seconds = clock.contender, clock.seconds
    job.remember(contender, min(seconds))
    quartiles = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else seconds * 3
    ratio = None
    if ours:
        same = len(seconds) == len(ours)
        ratio = (
            statistics.median(s / o for s, o in zip(seconds, ours, strict=True))
            if same
            else quartiles[1] / statistics.median(ours)
        )
    rate = job.pairs / quartiles[1] if job.pairs else None
    share = rate / ceiling if rate and ceiling else None
    claim, kept = _claim(job, contender, ratio, share)
    late = not clock.error <= job.budget
    notes = [f"its error is above {job.budget:.0e}"] if late else []
    if contender.remark is not None:
        notes.append(contender.remark())
    return Row(
        contender.name,
        clock.error,
        quartiles[1],
        (quartiles[0], quartiles[2]),
        len(seconds),
        ratio,
        rate,
        share,
        clock.memory_mib,
        claim,
        kept,
        "; ".join(notes),
    )


def _claim(job: Job, contender: Contender, ratio: float | None, share: float | None) -> tuple[str, bool | None]:
    if contender.at_least is not None and ratio is not None:
        return f">= {contender.at_least:g} x", ratio >= contender.at_least
    if contender.at_most is not None and ratio is not None:
        return f"<= {contender.at_most:g} x", ratio <= contender.at_most
    if contender is job.contenders[0] and job.least_share is not None and share is not None:
        return f">= {job.least_share:.0%} of ceiling", share >= job.least_share
    return "", None


def ceiling(features: int, *, single: bool = True, exponential: bool = True) -> Callable[[], float] | None:
    """The measured ceiling of a pair, where there are compiled kernels to compare with."""
    if _native.why_no_kernels() is not None:
        return None
    return lambda: _native.ceiling(features, single=single, exponential=exponential, seconds=0.03)


def table(job: Job, rows: Sequence[Row]) -> str:
    """The rows for a reader."""
    width = max(24, *(len(row.contender) for row in rows))
    head = f"{'median':>9} {'quartiles':>19} {'x ours':>7} {'Gpairs/s':>8} {'ceiling':>7} {'memory':>9} {'error':>8}"
    lines = [f"{job.title} (error: {job.error_is})", f"  {'':{width}} {head}  claim"]
    for row in rows:
        error = "" if row.error is None else f"{row.error:.1e}"
        if row.median_s is None or row.quartiles_s is None:
            lines.append(f"  {row.contender:{width}} {row.note:>64} {error:>8}".rstrip())
            continue
        spread = " .. ".join(map(duration, row.quartiles_s)) if row.rounds > 1 else "once"
        ratio = "" if row.times_ours is None else f"{row.times_ours:.2f}"
        rate = "" if row.pairs_per_s is None else f"{row.pairs_per_s / 1e9:.3g}"
        share = "" if row.share_of_ceiling is None else f"{row.share_of_ceiling:.0%}"
        memory = "" if row.memory_mib is None else f"{row.memory_mib:.0f} MiB"
        said = f"{row.claim} {'kept' if row.kept else 'MISSED'}" if row.claim else ""
        lines.append(
            f"  {row.contender:{width}} {duration(row.median_s):>9} {spread:>19} {ratio:>7} {rate:>8} {share:>7} "
            f"{memory:>9} {error:>8}  {'; '.join(filter(None, (said, row.note)))}".rstrip()
        )
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds for a reader."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e6:.3g} us"


def record(job: Job, rows: Sequence[Row]) -> dict[str, object]:
    """The rows for a file, with what is needed to measure them again."""
    return {
        "job": job.title,
        "dtype": str(job.dtype),
        "error": job.error_is,
        "error_budget": job.budget,
        "rows": [asdict(row) for row in rows],
    }


def _restart_peak() -> float | None:
    """Sets the peak memory of this process back to what it holds, in MiB; None where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return None


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
