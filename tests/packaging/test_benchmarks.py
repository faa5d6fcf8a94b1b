"""The benchmarks run, and print no speed of a wrong answer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.__main__ import CLAIMS
from benchmarks.harness import Contender, Job, measure, table

ROOT = Path(__file__).parents[2]


def job() -> Job:
    """Ours, one that is wrong, one that answers NaN, one that is not installed."""
    one = torch.ones(())
    return Job(
        title="the number one",
        dtype=one.dtype,
        contenders=(
            Contender("ours", lambda: one),
            Contender("wrong", lambda: one + 1e-3),
            Contender("not a number", lambda: one * torch.nan),
            Contender("absent", lambda: one, needs=("no_such_module",)),
        ),
        error=lambda value: abs(float(value) - 1.0),
        budget=1e-4,
    )


def test_only_right_answers_are_timed() -> None:
    ours, wrong, nan, absent = measure(job(), rounds=3)
    assert ours.times_ours == 1.0
    assert ours.median_s is not None
    assert ours.median_s > 0
    assert wrong.median_s is None
    assert wrong.note == "not timed: its error is above 1e-04"
    assert nan.median_s is None
    assert absent.note == "not measured: no_such_module is not installed"


def test_the_table_shows_the_missing_and_the_wrong() -> None:
    lines = table(job(), measure(job(), rounds=2)).splitlines()
    assert lines[0] == "the number one"
    assert [line.split("  ")[1].strip() for line in lines[2:]] == ["ours", "wrong", "not a number", "absent"]
    assert " ms" in lines[2]
    assert not any(" ms" in line for line in lines[3:])


def test_every_claim_is_a_module_and_every_module_a_claim() -> None:
    modules = {file.stem for file in (ROOT / "benchmarks").glob("*.py")} - {"__init__", "__main__", "harness"}
    assert modules == set(CLAIMS)


def test_smoke(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--threads", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for claim in CLAIMS:
        written = json.loads((tmp_path / f"{claim}.json").read_text())
        assert written["machine"]["threads"] == 1
        assert written["machine"]["versions"]["torch"] == str(torch.__version__)
        assert all(row["median_s"] or row["note"] for record in written["jobs"] for row in record["rows"])
        assert all(record["dtype"].startswith("torch.float") for record in written["jobs"])
