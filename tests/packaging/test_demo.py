"""The demo's data are what its titles say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scripts import demo


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    demo.FOLDER.mkdir()
    return demo.FOLDER


def test_cultivars_are_two_tables_of_the_same_columns() -> None:
    pair = demo.wine_cultivars()
    reference, current = pl.read_csv(pair.reference), pl.read_parquet(pair.current)
    assert reference.columns == current.columns
    assert (reference.shape, current.shape) == ((59, 13), (71, 13))
    assert pair.expected == demo.DIFFERENCE


def test_halves_are_disjoint_and_make_up_one_cultivar() -> None:
    pair = demo.wine_halves()
    reference, current = pl.read_csv(pair.reference), pl.read_csv(pair.current)
    assert (reference.height, current.height) == (35, 36)
    whole = demo.cultivar(1)
    assert pl.concat([reference, current]).sort(whole.columns).equals(whole.sort(whole.columns))
    assert pair.expected == demo.NO_DIFFERENCE


def test_digits_are_images_of_64_levels() -> None:
    pair = demo.digits()
    reference, current = np.load(pair.reference), np.load(pair.current)
    assert (reference.shape, current.shape) == ((183, 64), (174, 64))
    assert pair.expected == demo.DIFFERENCE


def test_a_wrong_verdict_fails_the_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def right(pair: demo.Pair) -> int:
        pair.report.touch()
        return pair.expected

    monkeypatch.setattr(demo, "compare", right)
    assert demo.main() == 0
    assert capsys.readouterr().out.count(" -> demo") == 3

    def always_different(pair: demo.Pair) -> int:
        pair.report.touch()
        return demo.DIFFERENCE

    monkeypatch.setattr(demo, "compare", always_different)
    assert demo.main() == 1

    monkeypatch.setattr(demo, "compare", lambda pair: pair.expected)
    assert demo.main() == 1
    assert "no report, exit code 0 -- NOT what was expected" in capsys.readouterr().out


@pytest.mark.slow
def test_the_demo() -> None:
    assert demo.main() == 0
