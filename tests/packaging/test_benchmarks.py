"""The benchmarks run, and print no speed of a wrong answer."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.__main__ import CLAIMS, TABLES
from benchmarks.harness import Contender, Job, measure, table

ROOT = Path(__file__).parents[2]


def job() -> Job:
    """Ours, one that is wrong, one that answers NaN, one that is not installed."""
    one = torch.ones(())
    return Job(
        title="the number one",
        dtype=one.dtype,
        contenders=(
            Contender("howfar", lambda: one),
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
    assert lines[0] == "the number one (error: relative to float64)"
    assert [line.split("  ")[1].strip() for line in lines[2:]] == ["howfar", "wrong", "not a number", "absent"]
    assert " us" in lines[2]
    assert not any(" us" in line or " ms" in line for line in lines[3:])


def test_claims_are_kept_or_missed() -> None:
    zero = torch.zeros(())
    naps = {"howfar": 0.002, "twice": 0.006, "far slower": 0.03, "howfar, other": 0.002}

    def nap(name: str) -> Tensor:
        time.sleep(naps[name])
        return zero

    contenders = [
        Contender(name, lambda name=name: nap(name), at_least=least, at_most=most)
        for name, least, most in zip(naps, (None, 100.0, 2.0, None), (None, None, None, 50.0), strict=True)
    ]
    claimed = Job(
        "to sleep", zero.dtype, contenders, lambda _: 0.0, 0.1, pairs=1e6, ceiling=lambda: 1e12, least_share=0.5
    )
    rows = measure(claimed, rounds=3)
    assert [row.kept for row in rows] == [False, False, True, True]
    assert "MISSED" in table(claimed, rows).splitlines()[2]
    assert "kept" in table(claimed, rows).splitlines()[4]
    assert rows[0].pairs_per_s == pytest.approx(1e6 / 0.002, rel=0.9)
    assert rows[0].share_of_ceiling is not None
    assert all(row.kept is None for row in measure(claimed, rounds=2, claims=False))
    assert len(measure(claimed, rounds=2, peers=False)) == 2


def test_a_peer_that_fails_or_would_take_too_long_has_a_row_that_says_so() -> None:
    zero = torch.zeros(())

    def fails() -> Tensor:
        raise RuntimeError("out of order\nand more")

    contenders = [Contender("howfar", lambda: zero), Contender("broken", fails), Contender("slow", lambda: zero)]
    rows = measure(
        Job("nothing", zero.dtype, contenders, lambda _: 0.0, 0.1, work=1e6, pace={"slow": 1e-3}, patience_s=9.0),
        rounds=2,
    )
    assert rows[1].note == "failed: RuntimeError: out of order"
    assert rows[2].note == "left out: a call would take about 1000 s"
    with pytest.raises(RuntimeError):
        measure(Job("ours", zero.dtype, [Contender("howfar", fails)], lambda _: 0.0, 0.1), rounds=2)


def test_every_script_is_listed() -> None:
    scripts = {
        file.stem for file in (ROOT / "benchmarks").glob("*.py") if "\ndef jobs(" in file.read_text(encoding="utf-8")
    }
    assert scripts == {*CLAIMS, *TABLES}


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks", *arguments, "--threads", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_script_runs() -> None:
    out = run(*(name for name in (*CLAIMS, *TABLES) if name != "gpu"), "--tiny")
    assert out.count(" (error: ") >= len(CLAIMS)
    lines = out.splitlines()
    ours = [lines[i + 2] for i, line in enumerate(lines) if " (error: " in line]
    assert all(line.startswith("  howfar") and ("us" in line or "ms" in line) for line in ours)
    assert "failed:" not in out
    assert "MISSED" not in out


@pytest.mark.parametrize("name", ["large", "gpu"])
def test_the_file_of_a_script(name: str, tmp_path: Path) -> None:
    file = tmp_path / "deeper" / "result.json"
    run(name, "--tiny", "--no-peers", "--json", str(file))
    written = json.loads(file.read_text())
    assert written["name"] == name
    assert written["machine"]["threads"] == 1
    assert written["machine"]["versions"]["torch"] == str(torch.__version__)
    assert all(row["median_s"] or row["note"] for record in written["jobs"] for row in record["rows"])
    assert all(record["dtype"].startswith("torch.float") for record in written["jobs"])
