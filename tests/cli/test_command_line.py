from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from howfar.cli import main, printing
from howfar.cli.application import run


@pytest.fixture
def tables(tmp_path, monkeypatch) -> Path:
    """Two tables that differ in one column of three, a second draw of the first, and an array."""
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=120) for name in ("x", "y")}
    pl.DataFrame(columns | {"level": ["a", "b", "c"] * 40}).write_csv(tmp_path / "a.csv")
    pl.DataFrame({"x": columns["x"] + 2, "y": columns["y"], "level": ["b", "c", "a"] * 40}).write_parquet(
        tmp_path / "moved.parquet"
    )
    pl.DataFrame({name: rng.normal(size=90) for name in ("x", "y")} | {"level": ["a", "b", "c"] * 30}).write_csv(
        tmp_path / "same.csv"
    )
    np.save(tmp_path / "array.npy", rng.normal(size=(50, 3)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("tables")
def test_a_difference_is_printed_and_exits_with_one(capsys):
    assert run(["compare", "a.csv", "moved.parquet"]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("The two tables differ: p = 0.001; 1 of 3 columns moved, `x`: median ")
    assert "\x1b" not in out
    assert "Energy distance" in out
    assert "x       numeric      yes" in out
    assert "reference  a.csv           120\n" in out
    assert all(line == line.rstrip() for line in out.splitlines())


@pytest.mark.usefixtures("tables")
def test_no_difference_exits_with_zero(capsys):
    assert run(["compare", "a.csv", "same.csv"]) == 0
    assert capsys.readouterr().out.startswith("No difference found: p = ")


@pytest.mark.usefixtures("tables")
def test_tolerance_decides_the_exit_code(capsys):
    assert run(["compare", "a.csv", "moved.parquet", "--tolerance", "0.99"]) == 0
    assert capsys.readouterr().out.startswith("No difference beyond the tolerance")


def test_json_is_all_there_is_on_standard_output(tables, capsys):
    assert run(["compare", "a.csv", "moved.parquet", "--json", "--out", "r.html"]) == 1
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert err == ""
    assert document["verdict"]["different"] is True
    assert document["format"] == "howfar.comparison"
    assert {"howfar", "verdict", "reference", "current", "distances", "columns", "settings"} <= set(document)
    assert (tables / "r.html").stat().st_size > 1000


def test_report_from_json_equals_the_report_of_the_comparison(tables, capsys):
    run(["compare", "a.csv", "moved.parquet", "--json", "--out", "direct.html"])
    (tables / "result.json").write_text(capsys.readouterr().out, encoding="utf-8")
    assert run(["report", "result.json", "--out", "later.html"]) == 0
    assert (tables / "later.html").read_bytes() == (tables / "direct.html").read_bytes()
    assert capsys.readouterr().out == "Report: later.html\n"


@pytest.mark.usefixtures("tables")
def test_seed_and_columns_are_passed_on(capsys):
    def document(*options: str) -> dict:
        run(["compare", "a.csv", "same.csv", "--json", *options])
        return json.loads(capsys.readouterr().out)

    assert document() == document()
    assert document("--seed", "1")["settings"]["seed"] == 1
    assert document("--seed", "1")["verdict"]["p_value"] != document()["verdict"]["p_value"]
    assert {c["name"] for c in document("--columns", "x, level")["columns"]} == {"x", "level"}
    assert {c["name"] for c in document("--columns", "x", "--columns", "y")["columns"]} == {"x", "y"}
    assert document("--permutations", "99")["settings"]["n_permutations"] == 99


@pytest.mark.usefixtures("tables")
def test_distance_prints_numbers(capsys):
    assert (
        run(["distance", "a.csv", "moved.parquet", "--metric", "energy_distance,mmd2", "--metric", "wasserstein"]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["distance", "energy_distance", "mmd2", "wasserstein"]
    assert run(["distance", "a.csv", "moved.parquet", "--metric", "mmd", "--json"]) == 0
    (mmd,) = json.loads(capsys.readouterr().out)["distances"]
    assert mmd["name"] == "mmd"
    assert mmd["value"] > 0.1


@pytest.mark.usefixtures("tables")
def test_distance_gives_every_row_its_unit(capsys):
    from howfar import catalog

    units = {"data": "robust standard units", "data^2": "squared robust standard units", "none": "no unit"}
    units["cost"] = units["data^2"]
    points = [row for row in catalog.rows() if row.inputs == "points"]
    assert {"mmd2", "frechet_distance", "sinkhorn_divergence"} <= {row.name for row in points}
    names = ",".join(row.name for row in points)
    assert run(["distance", "a.csv", "same.csv", "--metric", names, "--columns", "x,y"]) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    printed = {name: unit for name, _, unit in (line.split(maxsplit=2) for line in lines)}
    assert printed == {row.name: units[row.unit] for row in points}
    # The power of the unit is that of the scaling law.
    powers = {"no unit": (0, None), "robust standard units": (1,), "squared robust standard units": (2,)}
    assert all(row.degree in powers[printed[row.name]] for row in points)
    assert run(["distance", "a.csv", "same.csv", "--metric", "mmd,frechet_distance", "--json"]) == 0
    found = [one["unit"] for one in json.loads(capsys.readouterr().out)["distances"]]
    assert found == ["none", "squared robust standard units"]


@pytest.mark.usefixtures("tables")
def test_distance_says_when_it_subsamples(capsys):
    assert run(["distance", "a.csv", "same.csv", "--metric", "sliced_wasserstein", "--max-rows", "50"]) == 0
    assert "note: subsample of 50 and 50 rows" in capsys.readouterr().out


def test_list_shows_every_row_of_the_catalogue(capsys):
    from howfar import catalog

    assert run(["list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(catalog.rows())
    assert run(["list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == [row.name for row in catalog.rows()]


def test_doctor(capsys):
    assert run(["doctor"]) == 0
    assert "reference" in capsys.readouterr().out
    assert run(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["backends"]["reference"] == "available"


def test_version_and_help(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("howfar ")
    assert run(["--help"]) == 0
    assert "0 no difference found, 1 a difference" in " ".join(capsys.readouterr().out.split())
    assert run([]) == 2
    assert "Commands:" in capsys.readouterr().out
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("compare a.csv", "Missing argument 'current'. Try `howfar --help`."),
        ("compare a.csv same.csv --alhpa 0.1", "No such option: --alhpa (Possible options: --alpha, --help). Try"),
        ("compare a.csv same.csv --alpha x", "Invalid value for '--alpha': "),
        ("compare a.csv same.csv --alpha 2", "alpha: expected a level between 0 and 1, got 2. Pass alpha=0.05."),
        ("compare a.csv same.csv --seed=-1", "--seed: expected 0 <= seed < 2**63, got -1. Pass a smaller number."),
        ("compare a.csv nothing.csv", "nothing.csv: expected a file, got nothing at this path. Check the path."),
        (
            "compare a.csv array.npy",
            "a.csv: expected a column in common with array.npy that can be compared, got 'x', ",
        ),
        ("compare a.csv same.csv --columns z", "columns: expected names that a.csv has, got 'z'."),
        ("compare a.csv same.csv --out no/r.html", "--out: expected a file in a folder that exists, got "),
        ("compare a.csv same.csv --out .", "--out: expected a file, got a folder, '.'. Pass report.html."),
        ("distance a.csv same.csv --metric wassersten", "metric: expected one of energy_distance, "),
        (
            "distance a.csv same.csv --metric js",
            (
                "metric: expected a distance between points, which rows of a table are, got js, which compares "
                "probabilities. Pass one of energy_distance, frechet_distance, "
            ),
        ),
        (
            "distance a.csv same.csv --metric ,",
            "metric: expected at least one name, got none. `howfar list` shows them.",
        ),
        ("report a.csv --out r.html", "a.csv: result: expected the JSON of a comparison, got text that is not"),
        ("report array.npy --out r.html", "array.npy: expected JSON in UTF-8, got other bytes. Save it with"),
        ("report no.json --out r.html", "no.json: expected a file to read, got No such file or directory."),
        ("fit a.csv", "No such command 'fit'. Try `howfar --help`."),
    ],
)
def test_what_cannot_be_done_is_one_line_on_standard_error_and_exits_with_two(capsys, arguments, message):
    assert run(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"howfar: {message}")
    assert err.count("\n") == 1


@pytest.mark.usefixtures("tables")
def test_a_crash_is_not_a_difference(capsys, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("howfar.comparison.compare", broken)
    assert run(["compare", "a.csv", "same.csv"]) == 2
    assert "this is a fault of howfar" in capsys.readouterr().err


@pytest.mark.usefixtures("tables")
def test_an_interrupt_exits_with_130(monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("howfar.comparison.compare", interrupted)
    assert run(["compare", "a.csv", "same.csv"]) == 130


def test_names_from_the_data_cannot_steer_the_terminal(tmp_path, capsys):
    hostile = "[red]x[/]\x1b[31m\u202e"
    rng = np.random.default_rng(0)
    for name, shift in (("a.parquet", 0), ("b.parquet", 3)):
        levels = [f"[bold]{k}\x1b]0;title\x07" for k in rng.integers(0, 3, 50)]
        columns = {hostile: rng.normal(size=50) + shift, "kind": levels, f"only{name}\x1b[2J": [1.0] * 50}
        pl.DataFrame(columns).write_parquet(tmp_path / name)
    assert run(["compare", str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")]) == 1
    out, _ = capsys.readouterr()
    assert "[red]x[/]\\x1b[31m\\u202e" in out
    assert "only in reference, not compared: onlya.parquet\\x1b[2J" in out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)


def test_text_that_a_narrow_terminal_cannot_show_is_escaped(tables):
    pl.DataFrame({"größe": np.arange(20.0)}).write_csv(tables / "u.csv")
    result = _howfar("compare", "u.csv", "u.csv", PYTHONIOENCODING="ascii")
    assert result.returncode == 0
    assert "gr\\xf6\\xdfe" in result.stdout


@pytest.mark.usefixtures("tables")
def test_a_reader_that_leaves_early_is_no_error():
    command = [sys.executable, "-m", "howfar", "compare", "a.csv", "moved.parquet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment()) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_safe_text_is_left_as_it_is():
    assert printing.safe("Größe [x] 漢字 😀") == "Größe [x] 漢字 😀"


def _environment(**variables: str) -> dict[str, str]:
    source = Path(__file__).parents[2] / "src"
    return os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"} | variables


def _howfar(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "howfar", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=_environment(**variables))
