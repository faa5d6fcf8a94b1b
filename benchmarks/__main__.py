"""Run the claims by name, print a table each, and write build/benchmarks/NAME.json."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

CLAIMS = ("softmin", "gpu", "weight_gradients")


def main() -> int:
    """0, or 1 when an answer of ours was outside its error budget."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("claims", nargs="*", metavar="NAME", help=f"of {', '.join(CLAIMS)}; all when none is named")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes and two rounds: does everything still run?")
    parser.add_argument("--rounds", type=int, default=9, help="how often each contender runs (9)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for every contender (all processors)")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder of the JSON files")
    args = parser.parse_args()
    if unknown := set(args.claims) - set(CLAIMS):
        parser.error(f"no claim {', '.join(sorted(unknown))}; there are {', '.join(CLAIMS)}")
    if args.rounds < 2 or args.threads < 1:
        parser.error("--rounds starts at 2 and --threads at 1")

    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # read by OpenMP when torch is loaded
    import torch

    from benchmarks import harness

    torch.set_num_threads(args.threads)
    rounds = 2 if args.smoke else args.rounds
    args.out.mkdir(parents=True, exist_ok=True)
    wrong = False
    for claim in args.claims or CLAIMS:
        records = []
        for job in importlib.import_module(f"benchmarks.{claim}").jobs(smoke=args.smoke):
            rows = harness.measure(job, rounds=rounds)
            print(harness.table(job, rows), flush=True)
            records.append(harness.record(job, rows, rounds=rounds))
            wrong |= rows[0].median_s is None
        file = args.out / f"{claim}.json"
        file.write_text(json.dumps({"claim": claim, "machine": harness.machine(), "jobs": records}, indent=1) + "\n")
        print(f"-> {file}")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
