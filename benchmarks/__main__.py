"""Run the claims by name: a table each, and benchmarks/results/NAME.json."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import warnings
from pathlib import Path

CLAIMS = (
    "softmin", "kernel_sum", "nearest", "backward", "overhead", "large",
    "small_batch", "sinkhorn_divergence", "entropic", "exact", "weight_gradients", "gpu",
)  # fmt: skip
TABLES = ("throughput",)
"""No claim, and long: run only by name."""
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """0, or 1 when an answer of ours was outside its error budget."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = (*CLAIMS, *TABLES)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; every claim when none")
    parser.add_argument(
        "--tiny", action="store_true", help="tiny sizes, two rounds, no file: does everything still run?"
    )
    parser.add_argument("--long", action="store_true", help="also the sizes that take many minutes")
    parser.add_argument(
        "--peers", action=argparse.BooleanOptionalAction, default=True, help="measure peers beside ours"
    )
    parser.add_argument("--rounds", type=int, default=9, help="how often each contender runs, at most (9)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for every contender (all processors)")
    parser.add_argument("--json", type=Path, help="the file to write, of a single NAME")
    args = parser.parse_args()
    if unknown := set(args.names) - set(names):
        parser.error(f"nothing is called {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if args.rounds < 2 or args.threads < 1:
        parser.error("--rounds starts at 2 and --threads at 1")
    if args.json and len(args.names) != 1:
        parser.error("--json goes with a single NAME")

    _limit_threads(args.threads)
    import torch

    from benchmarks import harness
    from benchmarks.machine import machine

    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")  # of peers; what ours would warn of is in the errors of the rows
    rounds = 2 if args.tiny else args.rounds
    wrong = False
    for name in args.names or CLAIMS:
        measured_on = machine()
        records = []
        for job in importlib.import_module(f"benchmarks.{name}").jobs(tiny=args.tiny, long=args.long):
            claims = name in CLAIMS and not args.tiny
            rows = harness.measure(job, rounds=rounds, peers=args.peers, claims=claims)
            print(harness.table(job, rows), flush=True)
            records.append(harness.record(job, rows))
            wrong |= rows[0].median_s is None and rows[0].error is not None
        file = args.json or (None if args.tiny else RESULTS / f"{name}.json")
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"name": name, "machine": measured_on, "jobs": records}, indent=1) + "\n")
            print(f"-> {file}")
    return int(wrong)


def _limit_threads(threads: int) -> None:
    """Before any library is loaded: every pool, and the processors that pools are counted by."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        # XLA has no setting for it: its pool is as large as the processors that the process may use.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


if __name__ == "__main__":
    sys.exit(main())
