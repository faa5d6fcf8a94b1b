"""Real tables into demo/, three comparisons, and a check that each verdict is the right one.

Run by `make demo`. The data are the wine and digits tables that scikit-learn carries, so nothing is downloaded.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.datasets import load_digits, load_wine

FOLDER = Path("demo")
SEED = 0  # of the split in two halves: the first one tried
NO_DIFFERENCE, DIFFERENCE = 0, 1


@dataclass(frozen=True)
class Pair:
    """Two files, what they hold, and the exit code that `howfar compare` owes them."""

    title: str
    reference: Path
    current: Path
    report: Path
    expected: int


def wine_cultivars() -> Pair:
    """Two grape varieties by 13 chemical measurements: 59 rows against 71."""
    pair = Pair(
        "wine, cultivar 0 against cultivar 1",
        FOLDER / "wine_0.csv",
        FOLDER / "wine_1.parquet",
        FOLDER / "wine.html",
        DIFFERENCE,
    )
    cultivar(0).write_csv(pair.reference)
    cultivar(1).write_parquet(pair.current)
    return pair


def wine_halves() -> Pair:
    """One grape variety, dealt at random into two halves: 35 rows against 36."""
    pair = Pair(
        "wine, two random halves of cultivar 1",
        FOLDER / "wine_1_half_a.csv",
        FOLDER / "wine_1_half_b.csv",
        FOLDER / "halves.html",
        NO_DIFFERENCE,
    )
    table = cultivar(1)
    order = np.random.default_rng(SEED).permutation(table.height)
    half = table.height // 2
    table[np.sort(order[:half])].write_csv(pair.reference)
    table[np.sort(order[half:])].write_csv(pair.current)
    return pair


def digits() -> Pair:
    """Handwritten threes against eights, 64 grey levels each: 183 rows against 174."""
    pair = Pair(
        "digits, 3 against 8",
        FOLDER / "digits_3.npy",
        FOLDER / "digits_8.npy",
        FOLDER / "digits.html",
        DIFFERENCE,
    )
    images, labels = load_digits(return_X_y=True)
    np.save(pair.reference, images[labels == 3])
    np.save(pair.current, images[labels == 8])
    return pair


def cultivar(label: int) -> pl.DataFrame:
    """The rows of one grape variety."""
    wine = load_wine()
    return pl.DataFrame(wine.data[wine.target == label], schema=list(wine.feature_names))


def compare(pair: Pair) -> int:
    """The exit code of `howfar compare` on the pair; its output goes to the terminal."""
    print(f"\n--- {pair.title}", flush=True)
    command = ["howfar", "compare", str(pair.reference), str(pair.current), "--out", str(pair.report)]
    print(f"$ {' '.join(command)}", flush=True)
    return subprocess.run([sys.executable, "-m", *command], check=False).returncode


def main() -> int:
    """0 when every verdict is the expected one and every report was written."""
    FOLDER.mkdir(exist_ok=True)
    verdicts = {NO_DIFFERENCE: "not different", DIFFERENCE: "different"}
    lines, failed = [], False
    for pair in (wine_cultivars(), wine_halves(), digits()):
        pair.report.unlink(missing_ok=True)
        code = compare(pair)
        verdict = verdicts.get(code, f"exit code {code}") if pair.report.is_file() else f"no report, exit code {code}"
        right = verdict == verdicts[pair.expected]
        failed |= not right
        lines.append(f"{pair.title}: {verdict}" + (f" -> {pair.report}" if right else " -- NOT what was expected"))
    print("\n" + "\n".join(lines))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
