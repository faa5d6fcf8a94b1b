"""Bad sources, and the exact line that each gets. `*` stands for the words of a library."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from howfar import _errors
from howfar.data import load

AGAIN = "Save it again: it was cut short while it was written or copied, or it is of another format."
NO_PICKLE = (
    "got pickled objects, refused because they can run code. Save numbers only: "
    "numpy.save(..., allow_pickle=False), torch.save of tensors, or safetensors."
)
COMPLETE = "Complete the line, quote fields that hold ',', or export the file again if it was cut short."
MEND = "Mend the line, or export the file again if it was cut short."
EXPORT = "Check the export that made the file."


class Evil:
    """Touches a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (Path("pwned"),)


def _torch_bytes(content: object, **options: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def _numpy_bytes(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def _npz_bytes(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\0" * 2**20)
    content = bytearray(file.getvalue())
    # The central directory claims 3 GiB for the member: no need to write them to see them refused.
    at = content.rfind(b"PK\x01\x02") + 24
    content[at : at + 4] = (3 * 2**30).to_bytes(4, "little")
    return bytes(content)


def _frame_bytes(write: str, keep: int) -> bytes:
    file = io.BytesIO()
    getattr(pl.DataFrame({"a": [1.0, 2.0] * 50, "b": ["x", "y"] * 50}), write)(file)
    return file.getvalue()[:keep]


def _safetensors_bytes(folder: Path) -> bytes:
    save_file({"a": torch.zeros(9)}, folder / "whole")
    return (folder / "whole").read_bytes()


FILES: list[tuple[str, bytes, str]] = [
    ("a.csv", b"", f"a.csv: expected a file with content, got an empty file. {EXPORT}"),
    ("a.csv", b" \n\n", f"a.csv: expected a header line and rows, got an empty file. {EXPORT}"),
    ("a.csv", b"a,b\n", f"a.csv: expected a header line and rows, got a header line only. {EXPORT}"),
    (
        "a.csv",
        b"\na,b\n1,2\n",
        "a.csv: expected a header on the first line, got a blank line. Delete the blank lines at the top.",
    ),
    ("a.csv", b"a,b\n1,2\n3\n", f"a.csv: expected 2 fields on line 3, as on the first line, got 1. {COMPLETE}"),
    (
        "a.csv",
        b'a,b\n"p\nq",2\n3,4,5\n',
        f"a.csv: expected 2 fields on line 4, as on the first line, got 3. {COMPLETE}",
    ),
    (
        "a.csv",
        b'a,b\n1,2\n"x,2\n3,4\n',
        (
            "a.csv: expected separated text, got unexpected end of data in the row that begins on line 3. "
            "Check the quotes there."
        ),
    ),
    (
        "a.csv",
        b"a,b,a,b\n1,2,3,4\n",
        "a.csv: expected column names that differ, got 'a', 'b' more than once. Rename them in the header line.",
    ),
    (
        "a.csv",
        "a,b\n1,é\n".encode("latin1"),
        (
            "a.csv: expected UTF-8 text, got byte 0xe9 at offset 6. Save it as UTF-8, for example: "
            "iconv -f latin1 -t UTF-8."
        ),
    ),
    (
        "a.csv",
        b"a,b\n" + b"1,2\n" * 300_000 + b"1,\xc3",
        (
            "a.csv: expected UTF-8 text, got byte 0xc3 at offset 1200006. Save it as UTF-8, for example: "
            "iconv -f latin1 -t UTF-8."
        ),
    ),
    (
        "a.csv",
        "a,b\n1,2\n".encode("utf-16"),
        "a.csv: expected UTF-8 text, got UTF-16 or binary data. Save it as UTF-8: iconv -f UTF-16 -t UTF-8.",
    ),
    (
        "a.csv",
        b"a,b\r1,2\r",
        r"a.csv: expected lines that end in a newline, got carriage returns only. Convert it: tr '\r' '\n' < old > new.",
    ),
    (
        "a.csv.gz",
        gzip.compress(b"a,b\n1,2\n")[:-9],
        "a.csv.gz: expected a whole gzip file, got *. Copy or compress the file again.",
    ),
    ("a.ndjson", b"\n", f"a.ndjson: expected one JSON object per line, got an empty file. {EXPORT}"),
    (
        "a.ndjson",
        b'{"a": 1}\n{"a": 12',
        f"a.ndjson: expected a JSON object on line 2, got expecting ',' delimiter at column 9. {MEND}",
    ),
    ("a.ndjson", b'{"a": 1}\nnull\n', f"a.ndjson: expected a JSON object on line 2, got NoneType. {MEND}"),
    ("a.ndjson", b'{"a": 1}\n[1]\n', f"a.ndjson: expected a JSON object on line 2, got list. {MEND}"),
    (
        "a.jsonl",
        b'{"a": NaN}\n',
        f"a.jsonl: expected a JSON object on line 1, got NaN, which is not JSON. {MEND}",
    ),
    (
        "a.ndjson",
        b'{"a": true}\n{"a": 2}\n',
        (
            "a.ndjson: expected one type per key, got 'a' with booleans and numbers. "
            "Write the values of a key in one type throughout."
        ),
    ),
    ("a.parquet", _frame_bytes("write_parquet", 300), f"a.parquet: expected a whole Parquet file, got *. {AGAIN}"),
    ("a.arrow", _frame_bytes("write_ipc", 300), f"a.arrow: expected a whole Arrow file or stream, got *. {AGAIN}"),
    (
        "a.feather",
        _frame_bytes("write_ipc_stream", 500),
        f"a.feather: expected a whole Arrow file or stream, got *. {AGAIN}",
    ),
    (
        "a.feather",
        b"FEA1" + b"\0" * 99,
        "a.feather: expected an Arrow file, got Feather version 1. Write it as Feather version 2 (Arrow IPC).",
    ),
    (
        "a.npy",
        _numpy_bytes(np.zeros((9, 9)))[:400],
        f"a.npy: expected an array saved by numpy.save, got *. {AGAIN}",
    ),
    ("a.npy", b"1,2\n", f"a.npy: expected an array saved by numpy.save, got no array in it. {AGAIN}"),
    (
        "a.npy",
        _numpy_bytes(np.array([Evil()], dtype=object)),
        f"a.npy: expected an array saved by numpy.save, {NO_PICKLE}",
    ),
    ("a.npy", pickle.dumps(Evil()), f"a.npy: expected an array saved by numpy.save, {NO_PICKLE}"),
    (
        "a.npy",
        _numpy_bytes(np.array(3.0)),
        (
            "a.npy: expected an array with one row per observation, got a single number. "
            "Save an array of shape (n,) or (n, d)."
        ),
    ),
    (
        "a.npz",
        _npz_bytes(a=np.array([Evil()], dtype=object)),
        f"a.npz: expected arrays saved by numpy.savez, {NO_PICKLE}",
    ),
    ("a.npz", _npz_bytes(a=np.zeros(9))[:99], f"a.npz: expected arrays saved by numpy.savez, got *. {AGAIN}"),
    (
        "a.npz",
        _npz_bytes(a=np.zeros(9), b=np.zeros((8, 2))),
        (
            "a.npz: expected arrays with the same number of rows, got 'a' with 9, 'b' with 8. "
            "Choose one array with a.npz::a."
        ),
    ),
    (
        "a.npz",
        _bomb(),
        (
            "a.npz: expected data that unpacks to at most 200 times its size, got * bytes that unpack to 3221225472 "
            "or more. Unpack it yourself if you trust it, and pass the result."
        ),
    ),
    ("a.pt", _torch_bytes({"a": Evil()}), f"a.pt: expected tensors saved by torch.save, {NO_PICKLE}"),
    (
        "a.pth",
        _torch_bytes(Evil(), _use_new_zipfile_serialization=False),
        f"a.pth: expected tensors saved by torch.save, {NO_PICKLE}",
    ),
    ("a.pt", _torch_bytes(torch.zeros(99))[:700], f"a.pt: expected tensors saved by torch.save, got *. {AGAIN}"),
    (
        "a.pt",
        _torch_bytes({"a": torch.zeros(3), "epoch": 7}),
        (
            "a.pt: expected a tensor, or a dict or list of tensors, got Tensor, int. "
            "Save the tensors alone: torch.save({'x': x}, path)."
        ),
    ),
    (
        "a.pt",
        _torch_bytes(torch.eye(3).to_sparse()),
        (
            "a.pt: expected a dense tensor, got torch.float32 in layout torch.sparse_coo. "
            "Save x.to_dense(), or x.dequantize()."
        ),
    ),
    (
        "a.safetensors",
        b"\x10\0\0\0\0\0\0\0{",
        f"a.safetensors: expected tensors saved by safetensors, got *. {AGAIN}",
    ),
    (
        "a.xlsx",
        b"PK",
        (
            "a.xlsx: expected one of the extensions .csv, .csv.gz, .tsv, .tab, .tsv.gz, .parquet, .arrow, .feather, .ipc, "
            ".ndjson, .jsonl, .npy, .npz, .pt, .pth, .safetensors, got '.xlsx'. "
            "Convert the file, or load it yourself and pass the DataFrame or the array."
        ),
    ),
    ("a", b"a,b\n1,2\n", "a: expected one of the extensions *, got none. Convert the file, or load it *"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint_of(source: object) -> str:
    with pytest.raises(_errors.DataError) as caught:
        load(source)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("name", "content", "message"), FILES, ids=[f"{i}-{name}" for i, (name, _, _) in enumerate(FILES)]
)
@pytest.mark.usefixtures("folder")
def test_bad_files(name: str, content: bytes, message: str) -> None:
    Path(name).write_bytes(content)
    text = complaint_of(name)
    assert text == message or fnmatchcase(text, message.replace("[", "[[]"))
    assert "*" in message or text == message
    assert not Path("pwned").exists()


@pytest.mark.usefixtures("folder")
def test_the_pickles_above_would_run_code() -> None:
    pickle.loads(pickle.dumps(Evil()))
    assert Path("pwned").exists()


def test_bad_paths(folder: Path) -> None:
    (folder / "wine.csv").write_text("a,b\n1,2\n")
    np.savez(folder / "two.npz", a=np.zeros(2), b=np.zeros(2))
    images = " .png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp"
    assert {
        source: complaint_of(source) for source in ("wien.csv", "no/such.csv", ".", "wine.csv::a", "two.npz::c")
    } == {
        "wien.csv": "wien.csv: expected a file, got nothing at this path. Did you mean 'wine.csv'?",
        "no/such.csv": "no/such.csv: expected a file, got nothing at this path. Check the path.",
        ".": f".: expected a file, or a folder of images, got a folder without{images}. Pass a file.",
        "wine.csv::a": "wine.csv: expected no key, for a .csv file holds one table, got ::a. "
        "Leave out '::' and the key.",
        "two.npz::c": "two.npz: expected one of the arrays 'a', 'b', got 'c'. Pass two.npz::a.",
    }


def test_bad_images(folder: Path) -> None:
    Image.new("L", (4, 4)).save(folder / "a.png")
    Image.new("L", (5, 4)).save(folder / "b.png")
    assert complaint_of(folder) == (
        f"{folder}/b.png: expected an image of shape (4, 4), that of a.png, got (4, 5). "
        "Resize the images to one size and colour mode."
    )
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:40])
    assert fnmatchcase(complaint_of(folder), "*/b.png: expected a readable image, got *. Save the image again, *")
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(folder / "a.png")
    assert "got I;16. Convert it to 8 bits per channel." in complaint_of(folder)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            3,
            (
                "source: expected a path, a DataFrame, an array or a tensor, got int. "
                "Pass a file that howfar reads, or a table of polars, pandas or pyarrow."
            ),
        ),
        (
            np.zeros((0, 3)),
            "numpy.ndarray: expected at least one row, got none. Check the filter or the export that made it.",
        ),
        (torch.zeros(3, 0), "torch.Tensor: expected at least one column, got none. Check the export that made it."),
        (
            {"a": np.zeros(3), "b": np.zeros(4)},
            "builtins.dict: expected arrays with the same number of rows, got 'a' with 3, 'b' with 4. Pass one of them.",
        ),
        ([[1.0], [1.0, 2.0]], "builtins.list: expected an array, got list. Pass rows of equal length."),
        (
            pd.DataFrame([[1, 2]], columns=["a", "a"]),
            (
                "pandas.DataFrame: expected column names that differ, got Expected unique column names, got: - 'a' 2 times. "
                "Rename the columns."
            ),
        ),
        (
            pd.DataFrame([[1, 2]], columns=["1", 1]),
            "pandas.DataFrame: expected column names that differ, got '1' more than once. Rename the columns.",
        ),
        (
            pl.DataFrame({"a": []}),
            "polars.DataFrame: expected at least one row, got none. Check the filter or the export that made it.",
        ),
        (pl.scan_parquet("no/such.parquet"), "polars.LazyFrame: expected a DataFrame, got *. Pass a polars, *"),
    ],
)
def test_bad_objects(source: object, message: str) -> None:
    text = complaint_of(source)
    assert fnmatchcase(text, message) if "*" in message else text == message


@pytest.mark.parametrize("extension", [".csv", ".csv.gz", ".parquet", ".arrow", ".npy", ".npz", ".pt", ".safetensors"])
def test_damage_is_never_another_error(extension: str, folder: Path) -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0] * 9, "b": ["x", "y z"] * 9})
    whole = {
        ".csv": lambda: frame.write_csv().encode(),
        ".csv.gz": lambda: gzip.compress(frame.write_csv().encode()),
        ".parquet": lambda: _frame_bytes("write_parquet", 10**6),
        ".arrow": lambda: _frame_bytes("write_ipc_stream", 10**6),
        ".npy": lambda: _numpy_bytes(np.zeros((5, 5))),
        ".npz": lambda: _npz_bytes(a=np.zeros((5, 5))),
        ".pt": lambda: _torch_bytes({"a": torch.zeros(5, 5)}),
        ".safetensors": lambda: _safetensors_bytes(folder),
    }[extension]()
    rng = np.random.default_rng(0)
    path = folder / f"damaged{extension}"
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 4):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged[: rng.integers(1, len(whole) + 1)])
        try:
            load(path)
        except _errors.DataError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "source: expected a path, got an empty text. Pass a file."),
        (
            "https://example.org/a.csv",
            "https://example.org/a.csv: expected a file, got an address. Download it first.",
        ),
    ],
)
def test_what_is_no_path(source, message):
    with pytest.raises(_errors.DataError) as caught:
        load(source)
    assert str(caught.value) == message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_no_empty_file(tmp_path):
    """As in `howfar compare <(zcat a.csv.gz) b.csv`."""
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(
        _errors.DataError, match=r"expected a regular file, got a pipe or a device\. Save it first, in a"
    ):
        load(tmp_path / "a.csv")
