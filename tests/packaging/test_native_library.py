"""The compiled library: built where a compiler is, optional everywhere, and harmless to the process that loads it."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from howfar import _native
from howfar._errors import BackendUnavailable

ROOT = Path(__file__).parents[2]
COMPILERS = ("c++", "g++", "clang++", "cl")


@pytest.fixture
def library() -> ctypes.CDLL:
    """The library, which must be there on any machine that can build it."""
    if os.environ.get(_native.ENVIRONMENT_SWITCH) == "0":
        pytest.skip("the library is switched off")
    reason = _native.why_unavailable()
    if reason is not None and not any(map(shutil.which, COMPILERS)):
        pytest.skip("no C++ compiler here")
    assert reason is None, reason
    return _native.library()


def run(code: str, **environment: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def total(library: ctypes.CDLL, values: torch.Tensor) -> float:
    return float(library.howfar_sum_f64(values.data_ptr(), values.numel()))


def test_versions_of_header_library_and_python_agree(library: ctypes.CDLL) -> None:
    header = (ROOT / "native/include/howfar.h").read_text()
    (macro,) = re.findall(r"#define HOWFAR_ABI_VERSION (\d+)", header)
    assert int(macro) == library.howfar_abi_version() == _native.ABI_VERSION


def test_sum_keeps_what_a_plain_sum_loses(library: ctypes.CDLL) -> None:
    values = torch.tensor([1.0, 1e100, 1.0, -1e100], dtype=torch.float64)
    assert total(library, values) == 2.0
    spread = 10.0 ** torch.linspace(-12, 12, 10_001, dtype=torch.float64)
    values = torch.cat([spread, -spread.flip(0), spread[:7]])
    assert total(library, values) == pytest.approx(math.fsum(values.tolist()), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], 0.0),
        ([1.0, math.inf], math.inf),
        ([-math.inf, 1e308, 2.0], -math.inf),
        ([1e308, 1e308], math.inf),
        ([math.inf, -math.inf], math.nan),
        ([1.0, math.nan, 2.0], math.nan),
    ],
    ids=["empty", "inf", "minus-inf", "overflow", "inf-minus-inf", "nan"],
)
def test_sum_of_what_is_not_finite(library: ctypes.CDLL, values: list[float], expected: float) -> None:
    assert total(library, torch.tensor(values, dtype=torch.float64)) == pytest.approx(expected, nan_ok=True)


def test_instruction_sets_are_those_of_the_processor(library: ctypes.CDLL) -> None:
    assert library is not None
    found = _native.instruction_sets()
    assert found[0] == "portable"
    if platform.machine() in {"arm64", "aarch64"}:
        assert found == ("portable", "neon")
    if platform.machine() == "x86_64" and sys.platform == "linux":
        flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text()))
        assert ("avx2" in found) == ({"avx2", "fma"} <= flags)
        assert ("avx512" in found) == ({"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= flags)


def test_import_does_not_load_it() -> None:
    code = "import howfar, sys; m = sys.modules.get('howfar._native'); print(m is None or m._load.cache_info().misses == 0)"
    assert run(code) == "True"


def test_loading_leaves_denormals_on(library: ctypes.CDLL) -> None:
    assert library is not None
    code = (
        "from howfar import _native; import torch; _native.library().howfar_isa();"
        "tiny = torch.tensor([float('1e-310')], dtype=torch.float64);"
        "print(float('1e-310') * float('0.5') > 0, bool((tiny * 0.5 > 0).all()))"
    )
    assert run(code) == "True True"


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("readelf") is None, reason="reads ELF files with readelf")
def test_it_exports_its_interface_only_and_links_neither_python_nor_torch(library: ctypes.CDLL) -> None:
    def readelf(option: str) -> str:
        return subprocess.run(
            ["readelf", "--wide", option, library._name], capture_output=True, text=True, check=True
        ).stdout

    symbols = [line.split() for line in readelf("--dyn-syms").splitlines() if re.match(r"\s*\d+: [0-9a-f]+ ", line)]
    exported = {row[7] for row in symbols if row[3] in {"FUNC", "OBJECT"} and row[4] == "GLOBAL" and row[6] != "UND"}
    headers = "".join(file.read_text() for file in (ROOT / "native/include").glob("*.h"))
    assert exported == set(re.findall(r"^HOWFAR_API [\w ]+[ *](\w+)\(", headers, re.MULTILINE))
    needed = re.findall(r"Shared library: \[(.+?)\]", readelf("--dynamic"))
    assert not [name for name in needed if re.search("torch|python|c10", name)]


def test_the_environment_switches_it_off() -> None:
    code = (
        "from howfar import _native, _errors, doctor\n"
        "try: _native.library()\n"
        "except _errors.BackendUnavailable as error: print(error)\n"
        "print(doctor.report()['native library']['status'])"
    )
    error, status = run(code, HOWFAR_NATIVE="0").splitlines()
    assert error == "The compiled library is switched off by HOWFAR_NATIVE=0. Unset that environment variable."
    assert status == f"not available: {error}"


def test_a_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOWFAR_NATIVE", raising=False)
    monkeypatch.setattr(_native, "path", lambda: None)
    reason = _native._load.__wrapped__()
    assert "is not installed. Install a C++17 compiler" in reason


def test_a_broken_library_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HOWFAR_NATIVE", raising=False)
    broken = tmp_path / "libhowfar.so"
    broken.write_bytes(b"\x7fELF cut short")
    monkeypatch.setattr(_native, "path", lambda: broken)
    assert re.search(rf"{re.escape(str(broken))} cannot be loaded \(.+\)\. Install", _native._load.__wrapped__())


def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch, library: ctypes.CDLL) -> None:
    assert library is not None
    monkeypatch.delenv("HOWFAR_NATIVE", raising=False)
    monkeypatch.setattr(_native, "ABI_VERSION", 10**6)
    assert f"has interface {library.howfar_abi_version()}, and this howfar needs 1000000" in _native._load.__wrapped__()


def test_the_reason_becomes_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "_load", lambda: "The reason.")
    assert _native.why_unavailable() == "The reason."
    with pytest.raises(BackendUnavailable, match=r"^The reason\.$"):
        _native.library()
