"""The compiled library, which must be there on any machine that can build it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from howfar import _native

COMPILERS = ("c++", "g++", "clang++")
IN_THIS_PROCESS = os.environ.get("HOWFAR_NATIVE") != "0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/native/" in item.path.as_posix() and not IN_THIS_PROCESS:
            item.add_marker(pytest.mark.skip(reason="HOWFAR_NATIVE=0 switches the compiled library off"))


@pytest.fixture(autouse=True)
def _compiled() -> None:
    reason = _native.why_no_kernels()
    if reason is not None and not any(map(shutil.which, COMPILERS)):
        pytest.skip(reason)
    assert reason is None, reason


@pytest.fixture(params=_native.instruction_sets() if _native.why_unavailable() is None else ())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after the other; the one of before again at the end."""
    name = str(request.param)
    bits = {name: bit for bit, name in _native._ISA_NAMES.items()}
    before = _native.instruction_set()
    assert _native.library().howfar_use(bits[name]) == bits[name]
    yield name
    _native.library().howfar_use(bits[str(before)])
