"""Writes docs/speed.md from benchmarks/results: every contender of every claim, those that are quicker than ours too.

Run `make bench ARGS=--long` first, on a machine that does nothing else.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.__main__ import CLAIMS, RESULTS
from benchmarks.harness import duration

PAGE = Path(__file__).parent.parent / "docs" / "speed.md"
HEAD = """\
# How fast, and beside whom

What `python -m benchmarks --long` printed on {machine}; `python -m scripts.speed` made this page of it. All contenders
run in one process, in turn, on the same data with the same threads: "x ours" is how many times as long as ours they
take, the median over the rounds. A contender whose error is above the budget of the job is not timed, unless it works
at its defaults only; then its error is what to read. [benchmarks/](../benchmarks/README.md) has the rules and the
scripts. Absolute times are those of one machine: measure yours with `make bench`.

Versions: {versions}.
"""


def main() -> int:
    """0, or 1 where there is nothing to write of."""
    files = [file for name in CLAIMS if (file := RESULTS / f"{name}.json").exists()]
    if not files:
        print("benchmarks/results is empty: run `python -m benchmarks --long` first", file=sys.stderr)
        return 1
    runs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    machine = runs[0]["machine"]
    versions = {k: v.split(" (")[0] for k, v in machine["versions"].items() if k not in ("platform", "howfar")}
    told = f"{machine['threads']} threads of an {machine['processor']} ({machine['native_library']['in use']})"
    parts = [HEAD.format(machine=told, versions=", ".join(f"{k} {v}" for k, v in versions.items()))]
    parts += [section(run) for run in runs]
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    return 0


def section(run: dict[str, Any]) -> str:
    """A heading and a table for every job of one script."""
    return f"## {run['name'].replace('_', ' ')}\n\n" + "\n".join(table(job) for job in run["jobs"])


def table(job: dict[str, Any]) -> str:
    """One job; the error is what the head of its column says."""
    lines = [
        f"{job['job']}:\n",
        f"| | time | x ours | error {job['error']} | memory | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in job["rows"]:
        time = "" if row["median_s"] is None else duration(row["median_s"])
        ratio = "" if row["times_ours"] is None else f"{row['times_ours']:.2f}"
        error = "" if row["error"] is None else f"{row['error']:.0e}"
        memory = "" if row["memory_mib"] is None else f"{row['memory_mib']:.0f} MiB"
        claim = "" if not row["claim"] else f"claim {row['claim']}: {'kept' if row['kept'] else 'missed'}"
        note = "; ".join(filter(None, (claim, row["note"])))
        lines.append(f"| {row['contender']} | {time} | {ratio} | {error} | {memory} | {note} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
