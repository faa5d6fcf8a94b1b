"""Measures contenders for one job side by side, and prints no speed of an answer that is wrong.

The contenders run in turn, A B A B, on the same data in the same process with the same threads, so that a machine that
slows down slows all of them. A ratio is the median over the rounds of the two times of one round.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from howfar import doctor


@dataclass(frozen=True)
class Contender:
    """One implementation: a call that does the whole job, and the distributions that must be installed for it."""

    name: str
    run: Callable[[], Tensor]
    needs: tuple[str, ...] = ()

    def missing(self) -> str:
        """The modules that are not installed, separated by commas; empty when it can run."""
        return ", ".join(module for module in self.needs if importlib.util.find_spec(module) is None)


@dataclass(frozen=True)
class Job:
    """What is computed, by whom, and how exactly: the first contender is ours."""

    title: str
    dtype: torch.dtype
    contenders: Sequence[Contender]
    error: Callable[[Tensor], float]  # relative, against float64
    budget: float  # the largest error whose speed counts


@dataclass(frozen=True)
class Row:
    """One contender's outcome; the times are None unless it ran and its error is within the budget."""

    contender: str
    error: float | None = None
    median_s: float | None = None
    quartiles_s: tuple[float, float] | None = None
    times_ours: float | None = None
    note: str = ""


def measure(job: Job, *, rounds: int) -> list[Row]:
    """One row per contender, ours first. The first call of each is its warm-up and its accuracy check."""
    rows: dict[str, Row] = {}
    running: list[Contender] = []
    for contender in job.contenders:
        if missing := contender.missing():
            rows[contender.name] = Row(contender.name, note=f"not measured: {missing} is not installed")
            continue
        error = job.error(contender.run())
        if error <= job.budget:  # a NaN is not
            running.append(contender)
            rows[contender.name] = Row(contender.name, error=error)
        else:
            rows[contender.name] = Row(
                contender.name, error=error, note=f"not timed: its error is above {job.budget:.0e}"
            )
    times: dict[str, list[float]] = {contender.name: [] for contender in running}
    for _ in range(rounds):
        for contender in running:
            start = time.perf_counter()
            contender.run()
            times[contender.name].append(time.perf_counter() - start)
    ours = times.get(job.contenders[0].name)
    for name, seconds in times.items():
        low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
        ratio = statistics.median(s / o for s, o in zip(seconds, ours, strict=True)) if ours else None
        rows[name] = Row(name, rows[name].error, middle, (low, high), ratio)
    return list(rows.values())


def table(job: Job, rows: Sequence[Row]) -> str:
    """The rows for a reader."""
    lines = [job.title, f"  {'':28} {'median':>10} {'quartiles':>21} {'x ours':>8} {'error':>9}"]
    for row in rows:
        error = "" if row.error is None else f"{row.error:.1e}"
        if row.median_s is None or row.quartiles_s is None:
            lines.append(f"  {row.contender:28} {row.note:>41} {error:>9}")
            continue
        spread = "{:.2f} .. {:.2f} ms".format(*(1e3 * s for s in row.quartiles_s))
        ratio = "" if row.times_ours is None else f"{row.times_ours:.2f}"
        lines.append(f"  {row.contender:28} {1e3 * row.median_s:7.2f} ms {spread:>21} {ratio:>8} {error:>9}")
    return "\n".join(lines)


def record(job: Job, rows: Sequence[Row], *, rounds: int) -> dict[str, object]:
    """The rows for a file, with what is needed to measure them again."""
    return {
        "job": job.title,
        "dtype": str(job.dtype),
        "rounds": rounds,
        "error_budget": job.budget,
        "rows": [asdict(row) for row in rows],
    }


def machine() -> dict[str, object]:
    """Where it was measured."""
    found = doctor.report()
    peers = {name: _version(name) for name in ("pykeops", "geomloss", "POT", "scipy", "torchmetrics")}
    return {
        "processor": _processor(),
        "logical_processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": found["versions"] | {name: version for name, version in peers.items() if version},
        "devices": found["devices"],
        "native_library": found["native library"],
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    """Its name as sold; on Linux `platform.processor()` has the architecture at most."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
