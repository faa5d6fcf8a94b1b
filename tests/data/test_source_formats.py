"""Every format holds the same table; every cell of a text file is typed by the whole of its column."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from howfar.data import Column, Kind, Table, load
from howfar.data.formats import ARCHIVES, READERS
from howfar.data.text import MISSING

FRAME = pl.DataFrame(
    {
        "age": [31, 45, None, 27],
        "height": [1.62, None, 1.8, float("nan")],
        "member": [True, False, None, True],
        "town": ["Bern", None, "Wien, Graz", 'the "old"\ntown'],
        "since": [dt.date(2020, 1, 1), None, dt.date(1969, 12, 31), dt.date(2024, 2, 29)],
        "seen": [dt.datetime(2020, 1, 1, 6), None, dt.datetime(1969, 12, 31, 12), dt.datetime(2024, 2, 29)],
        "gone": [None, None, None, None],
    },
    schema_overrides={"gone": pl.String},
)
EXPECTED: dict[str, tuple[Kind, list[float | str | None]]] = {
    "age": (Kind.NUMERIC, [31, 45, None, 27]),
    "height": (Kind.NUMERIC, [1.62, None, 1.8, None]),
    "member": (Kind.BOOLEAN, [1, 0, None, 1]),
    "town": (Kind.CATEGORICAL, ["Bern", None, "Wien, Graz", 'the "old"\ntown']),
    "since": (Kind.DATETIME, [18262, None, -1, 19782]),
    "seen": (Kind.DATETIME, [18262.25, None, -0.5, 19782]),
}


def _ndjson(path: Path) -> None:
    FRAME.with_columns(pl.col("since", "seen").cast(pl.String).str.replace(" ", "T")).fill_nan(None).write_ndjson(path)


def _gzipped(path: Path) -> None:
    path.write_bytes(gzip.compress(FRAME.write_csv().encode()))


TABLE_WRITERS: dict[str, Callable[[Path], object]] = {
    ".csv": FRAME.write_csv,
    ".csv.gz": _gzipped,
    ".tsv": lambda path: FRAME.write_csv(path, separator="\t"),
    ".tab": lambda path: FRAME.write_csv(path, separator="\t"),
    ".tsv.gz": lambda path: path.write_bytes(gzip.compress(FRAME.write_csv(separator="\t").encode())),
    ".parquet": FRAME.write_parquet,
    ".arrow": FRAME.write_ipc,
    ".feather": lambda path: FRAME.write_ipc(path, compression="lz4"),
    ".ipc": FRAME.write_ipc_stream,
    ".ndjson": _ndjson,
    ".jsonl": _ndjson,
}
POINTS = torch.arange(12.0).reshape(4, 3) / 7
ARRAY_WRITERS: dict[str, Callable[[Path], object]] = {
    ".npy": lambda path: np.save(path, POINTS.numpy(), allow_pickle=False),
    ".npz": lambda path: np.savez_compressed(path, points=POINTS.numpy()),
    ".pt": lambda path: torch.save(POINTS.requires_grad_(), path),
    ".pth": lambda path: torch.save({"points": POINTS.T.contiguous().T}, path, _use_new_zipfile_serialization=False),
    ".safetensors": lambda path: save_file({"points": POINTS.detach().contiguous()}, path),
}


def cells(column: Column) -> list[float | str | None]:
    """The column as Python values, None where missing."""
    values = column.values.tolist()
    if column.kind is Kind.CATEGORICAL:
        values = [column.levels[code] if code >= 0 else None for code in values]
    return [None if gone else value for value, gone in zip(values, column.missing.tolist(), strict=True)]


def from_text(tmp_path: Path, text: str, name: str = "table.csv") -> Table:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return load(path)


def test_every_format_is_written_by_a_test_below() -> None:
    assert {*READERS, *ARCHIVES} == {*TABLE_WRITERS, *ARRAY_WRITERS}


@pytest.mark.parametrize("extension", TABLE_WRITERS)
def test_every_table_format_gives_the_same_table(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"odd [1] name*{extension}"
    TABLE_WRITERS[extension](path)
    table = load(str(path))
    assert table.name == str(path)
    assert table.n == 4
    assert table.schema() == {name: kind for name, (kind, _) in EXPECTED.items()}
    for name, (_, values) in EXPECTED.items():
        assert cells(table[name]) == values, name
        assert bool(table[name].values.isnan().eq(table[name].missing).all()) or table[name].levels
    assert [(gone.name, gone.all_missing) for gone in table.ignored] == [("gone", True)]
    assert table["since"].unit == table["seen"].unit == "days since 1970-01-01"
    assert table.notes == ()


@pytest.mark.parametrize("extension", ARRAY_WRITERS)
def test_every_array_format_gives_the_same_table(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"points{extension}"
    ARRAY_WRITERS[extension](path)
    table = load(path)
    assert table.names == ("0", "1", "2")
    assert torch.equal(torch.stack([c.values for c in table.columns], -1), POINTS.detach().double())


@pytest.mark.parametrize("extension", [".npz", ".pt", ".safetensors"])
def test_a_file_of_several_arrays(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"several{extension}"
    arrays = {"pixels": torch.rand(5, 2, 2), "label": torch.arange(5)}
    if extension == ".npz":
        np.savez(path, **{key: value.numpy() for key, value in arrays.items()})
    elif extension == ".pt":
        torch.save(arrays, path)
    else:
        save_file(arrays, path)
    table = load(path)
    assert sorted(table.names) == ["label", "pixels[0]", "pixels[1]", "pixels[2]", "pixels[3]"]
    assert table.notes == (f"{path}::pixels: each row of shape (2, 2) was flattened into 4 columns.",)
    assert load(f"{path}::label").names == ("0",)
    assert torch.equal(load(f"{path}::pixels")["3"].values, arrays["pixels"][:, 1, 1].double())


def test_an_arrow_stream_without_its_end_mark_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "stream.arrow"
    FRAME.write_ipc_stream(path)
    path.write_bytes(path.read_bytes()[:-8])
    assert load(path).notes == (f"{path}: the Arrow stream has no end mark, so rows may be missing at its end.",)


def test_a_folder_of_images(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    table = load(tmp_path)
    assert (table.n, len(table.columns)) == (3, 60)
    found = torch.stack([c.values for c in table.columns], -1)
    torch.testing.assert_close(found, torch.from_numpy(pixels.reshape(3, 60) / 255.0), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (["1"] * 300 + ["2.5"], Kind.NUMERIC, [1.0] * 300 + [2.5]),
        (["1"] * 300 + ["zz"], Kind.CATEGORICAL, ["1"] * 300 + ["zz"]),
        (["+1", " 2 ", "-3"], Kind.NUMERIC, [1, 2, -3]),
        (["1e5", ".5", "5.", "-2E-3"], Kind.NUMERIC, [1e5, 0.5, 5, -2e-3]),
        (["007", "010"], Kind.NUMERIC, [7, 10]),
        (["1_000", "2"], Kind.CATEGORICAL, ["1_000", "2"]),
        (["0x10", "2"], Kind.CATEGORICAL, ["0x10", "2"]),
        (["inf", "1", "-Infinity"], Kind.NUMERIC, [None, 1, None]),
        (["True", "FALSE", "true"], Kind.BOOLEAN, [1, 0, 1]),
        (["yes", "no"], Kind.CATEGORICAL, ["yes", "no"]),
        (["9007199254740992", "1"], Kind.NUMERIC, [2.0**53, 1]),
        (["2020-01-01", "1969-12-31"], Kind.DATETIME, [18262, -1]),
        (["2020/01/02", "2020/01/01"], Kind.DATETIME, [18263, 18262]),
        (["2020-01-01", "2020-13-45"], Kind.CATEGORICAL, ["2020-01-01", "2020-13-45"]),
        (["2020-01-01", "not yet"], Kind.CATEGORICAL, ["2020-01-01", "not yet"]),
        (["2020-01-01T12:00:00Z", "2020-01-01T12:00:00+06:00"], Kind.DATETIME, [18262.5, 18262.25]),
        (["2020-01-01 12:00", "2020-01-02 00:00"], Kind.DATETIME, [18262.5, 18263]),
        (["06:30:00", "23:59:60"], Kind.CATEGORICAL, ["06:30:00", "23:59:60"]),
        (["06:30", "12:00"], Kind.DATETIME, [6.5, 12]),
        ([*MISSING, *(m.upper() for m in MISSING), "4"], Kind.NUMERIC, [None] * 2 * len(MISSING) + [4]),
    ],
    ids=lambda value: None if isinstance(value, list) else value.value,
)
def test_cells_of_text_files(column: list[str], kind: Kind, values: list[float | str | None], tmp_path: Path) -> None:
    table = from_text(tmp_path, "value,row\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(column)))
    assert table["value"].kind is kind
    assert cells(table["value"]) == values
    assert table["row"].n_missing == 0


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        (
            'a,b\n"1,234",2\n"12,345.5",3\n',
            (
                "Column 'a' holds text such as '1,234': separators inside numbers are not read. "
                "Write 1234.5 to have numbers."
            ),
        ),
        ("a;b\n1,5;2\n2,5;3\n", "table.csv: fields are parted by ';'."),
        (
            "a,b\n31/12/2020,1\n",
            (
                "Column 'a' holds text such as '31/12/2020': the order of day and month is not guessed. "
                "Write 2024-03-31 to have dates."
            ),
        ),
        ("a,b\nNA,1\nUS,2\n", "Column 'a': 1 cells that read NA, null, none or the like count as missing."),
        (
            "1.5,2\n3,4\n",
            "table.csv: the first line holds numbers, not names, so the columns are numbered from 0.",
        ),
        ("a,b\ninf,1\n-inf,2\n3,3\n", "Column 'a': 2 infinite values count as missing."),
    ],
)
def test_what_was_read_otherwise_than_it_looks_is_noted(
    text: str, notes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text(text)
    assert notes in load("table.csv").notes


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffa,b\n1,x\n2,y\n",
        "a,b\r\n1,x\r\n2,y\r\n",
        "a,b\n1,x\n\n2,y\n\n\n",
        "a,b\n1,x\n2,y",
        ' a, b\n1, x\n2, "y"\n',
        "a\tb\n1\tx\n2\ty\n",
        "a|b\n1|x\n2|y\n",
        "a;b\n1;x\n2;y\n",
        '"a","b"\n"1","x"\n"2","y"\n',
    ],
)
def test_dialects_of_csv(text: str, tmp_path: Path) -> None:
    table = from_text(tmp_path, text.replace('"y"', "y") if text[0] == " " else text)
    assert table.names == ("a", "b")
    assert cells(table["a"]) == [1, 2]
    assert cells(table["b"]) == ["x", "y"]


def test_headers_that_are_numbers(tmp_path: Path) -> None:
    assert from_text(tmp_path, "0,1\n5,6\n7,8\n").n == 2
    assert from_text(tmp_path, "5,6\n7,8\n").n == 2
    assert from_text(tmp_path, "5,6\n7,8\n").names == ("0", "1")


def test_blank_lines_of_a_single_column_are_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "single.csv"
    pl.DataFrame({"a": ["x", None, None]}).write_csv(path)
    assert cells(load(path)["a"]) == ["x", None, None]


EPOCH = dt.datetime(1970, 1, 1)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0", exclude_categories=("Cs",)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(2**53), 2**53),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.none() | st.booleans(),
            st.none() | TEXT.map(lambda text: f"t{text}t"),
            st.none() | st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_what_is_written_as_csv_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int | None, float | None, bool | None, str | None, dt.datetime | None]],
) -> None:
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["whole", "real", "truth", "words", "time"])
        writer.writerows([*row[:4], row[4] and row[4].isoformat(timespec="microseconds")] for row in rows)
    table = load(path)
    assert table.n == len(rows)
    for position, name in enumerate(("whole", "real", "truth", "words", "time")):
        given_cells = [row[position] for row in rows]
        if all(cell is None for cell in given_cells):
            assert name in [gone.name for gone in table.ignored]
            continue
        found = cells(table[name])
        if name == "time":
            days = [cell and (cell - EPOCH) / dt.timedelta(days=1) for cell in given_cells]
            assert [None if day is None else pytest.approx(day, rel=1e-15) for day in days] == found
        else:
            assert found == given_cells


def test_a_hundred_thousand_rows_take_seconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 100_000
    columns: dict[str, object] = {f"x{i}": rng.normal(size=n) for i in range(16)}
    columns["town"] = rng.choice(["Bern", "Wien", "Rom"], n)
    columns["id"] = [f"id-{i:08d}" for i in range(n)]
    columns["day"] = pl.Series(rng.integers(18_000, 19_000, n)).cast(pl.Int32).cast(pl.Date)
    columns["late"] = rng.random(n) < 0.1
    pl.DataFrame(columns).write_csv(tmp_path / "large.csv")
    start = time.perf_counter()
    table = load(tmp_path / "large.csv")
    assert time.perf_counter() - start < 15  # 0.7 s on an idle core; the suite shares its cores
    assert (table.n, len(table.columns)) == (n, 20)
    assert torch.equal(table["x3"].values, torch.from_numpy(columns["x3"]))
