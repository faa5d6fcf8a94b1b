"""What pip would install: built for real, with a compiler and without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src"
COMPILERS = ("c++", "g++", "clang++", "cl")


def wheel(folder: Path, **environment: str) -> Path:
    """The wheel of the working tree, built apart from it."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-cache-dir",
        "--wheel-dir",
        str(folder),
    ]
    pins = ["--build-constraint", str(ROOT / "constraints.txt")]
    done = subprocess.run(
        [*command, *pins, str(ROOT)], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("howfar-*.whl")
    return built


def tracked() -> set[str]:
    """Every file of the package that git knows; of a source archive, every file that is not compiled."""
    listed = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        names = {name for name in listed.stdout.split() if (ROOT / name).is_file()}
        return {Path(name).relative_to("src").as_posix() for name in names}
    return {
        f.relative_to(PACKAGE).as_posix() for f in PACKAGE.rglob("*") if f.is_file() and "__pycache__" not in f.parts
    }


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="there is no C++ compiler")
def test_a_wheel_holds_every_file_and_the_library_for_any_python(tmp_path: Path) -> None:
    built = wheel(tmp_path)
    assert built.name.split("-")[2:4] == ["py3", "none"]
    assert not built.name.endswith("any.whl")
    names = set(zipfile.ZipFile(built).namelist())
    assert tracked() <= names
    assert {"howfar/py.typed", "howfar/libhowfar.dll" if sys.platform == "win32" else "howfar/libhowfar.so"} <= names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "scripts", "native"))]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="CXX does not choose the compiler of Visual Studio")
def test_without_a_compiler_the_wheel_is_pure_python(tmp_path: Path) -> None:
    false = shutil.which("false")
    built = wheel(tmp_path, CC=str(false), CXX=str(false))
    assert built.name.endswith("-py3-none-any.whl")
    names = set(zipfile.ZipFile(built).namelist())
    assert tracked() <= names
    assert not [name for name in names if "libhowfar" in name]
