"""The compiled library: found beside the package, loaded when first asked for, checked before it is trusted.

It holds the compiled kernels behind a C interface (native/include/howfar.h) and is optional: an installation that
found no C++ compiler has none, and every op then runs on plain torch. `HOWFAR_NATIVE=0` in the environment leaves it
unloaded; it is read once, at the first use.

A kernel that uses OpenMP shares torch's thread pool only if torch was loaded first, so loading imports torch.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from howfar._errors import BackendUnavailable

ABI_VERSION = 1
ENVIRONMENT_SWITCH = "HOWFAR_NATIVE"

_FILE_NAME = "libhowfar.dll" if sys.platform == "win32" else "libhowfar.so"
_ISA_NAMES = {1 << 0: "portable", 1 << 1: "avx2+fma", 1 << 2: "avx512", 1 << 3: "neon"}
_REBUILD = (
    "Install a C++17 compiler, then howfar again: pip install --force-reinstall --no-deps --no-cache-dir howfar "
    "(in a clone: pip install .)."
)


def library() -> ctypes.CDLL:
    """The loaded library.

    Raises:
        BackendUnavailable: it is not there, cannot be loaded, or was built for another version; the text says which.
    """
    loaded = _load()
    if isinstance(loaded, str):
        raise BackendUnavailable(loaded)
    return loaded


def why_unavailable() -> str | None:
    """Why there is no compiled library, with the fix; None when there is one."""
    loaded = _load()
    return loaded if isinstance(loaded, str) else None


def path() -> Path | None:
    """The library's file, whether it loads or not."""
    # An editable installation keeps what was built apart from the sources; the package's search path holds both.
    folders: Sequence[str] = sys.modules[__package__].__path__
    return next((file for folder in folders if (file := Path(folder, _FILE_NAME)).is_file()), None)


def instruction_sets() -> tuple[str, ...]:
    """What this processor runs, of the instruction sets that kernels are compiled for: "portable" first."""
    bits = int(library().howfar_isa())
    return tuple(name for bit, name in _ISA_NAMES.items() if bits & bit)


@functools.cache
def _load() -> ctypes.CDLL | str:
    if os.environ.get(ENVIRONMENT_SWITCH) == "0":
        return f"The compiled library is switched off by {ENVIRONMENT_SWITCH}=0. Unset that environment variable."
    file = path()
    if file is None:
        return f"The compiled library {_FILE_NAME} is not installed. {_REBUILD}"
    import torch  # noqa: F401

    try:
        loaded = ctypes.CDLL(str(file))
        found = loaded.howfar_abi_version()
    except (OSError, AttributeError) as error:
        return f"The compiled library {file} cannot be loaded ({error}). {_REBUILD}"
    if found != ABI_VERSION:
        return f"The compiled library {file} has interface {found}, and this howfar needs {ABI_VERSION}. {_REBUILD}"
    _declare(loaded)
    return loaded


def _declare(loaded: ctypes.CDLL) -> None:
    """The signatures of native/include/howfar.h; without them ctypes would cut pointers to 32 bits."""
    loaded.howfar_isa.argtypes = ()
    loaded.howfar_isa.restype = ctypes.c_uint32
    loaded.howfar_sum_f64.argtypes = (ctypes.c_void_p, ctypes.c_int64)
    loaded.howfar_sum_f64.restype = ctypes.c_double
    pointer, count, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    loaded.howfar_flow_new.argtypes = (count, count, pointer, pointer, number)
    loaded.howfar_flow_new.restype = pointer
    loaded.howfar_flow_free.argtypes = (pointer,)
    loaded.howfar_flow_free.restype = None
    loaded.howfar_flow_raise.argtypes = (pointer, number)
    loaded.howfar_flow_raise.restype = None
    loaded.howfar_flow_add.argtypes = (pointer, count, pointer, pointer, pointer)
    loaded.howfar_flow_start.argtypes = (pointer, pointer)
    loaded.howfar_flow_solve.argtypes = (pointer, count, number)
    loaded.howfar_flow_solve.restype = count
    loaded.howfar_flow_duals.argtypes = (pointer, pointer, pointer)
    loaded.howfar_flow_duals.restype = None
    loaded.howfar_flow_read.argtypes = (pointer, pointer, pointer, pointer)
    loaded.howfar_flow_read.restype = count
    loaded.howfar_flow_artificial.argtypes = (pointer,)
    loaded.howfar_flow_artificial.restype = count
