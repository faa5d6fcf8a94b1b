"""The compiled library: found beside the package, loaded when first asked for, checked before it is trusted.

It holds the compiled kernels behind a C interface (native/include/howfar.h) and is optional: an installation that
found no C++ compiler has none, and every op then runs on plain torch. `HOWFAR_NATIVE=0` in the environment leaves it
unloaded, and `HOWFAR_ISA=portable` (or avx2, avx512, neon) forces the instruction set of its kernels; both are read
once, at the first use.

A kernel that uses OpenMP shares torch's thread pool only if torch was loaded first, so loading imports torch.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from howfar._errors import BackendUnavailable, DomainError, complaint

ABI_VERSION = 7
ENVIRONMENT_SWITCH = "HOWFAR_NATIVE"
ENVIRONMENT_ISA = "HOWFAR_ISA"

_FILE_NAME = "libhowfar.dll" if sys.platform == "win32" else "libhowfar.so"
_ISA_NAMES = {1 << 0: "portable", 1 << 1: "avx2", 1 << 2: "avx512", 1 << 3: "neon"}
_REBUILD = (
    "Install a C++17 compiler, then howfar again: pip install --force-reinstall --no-deps --no-cache-dir howfar "
    "(in a clone: pip install .)."
)

_KERNELS = ("softmin", "gibbs", "kernel_sum", "nearest")
_MATRIX_KERNELS = ("matrix_softmin", "matrix_nearest", "matrix_gibbs")
_forked = False


class Part(ctypes.Structure):
    """howfar_part: one summand of a kernel sum."""

    _fields_ = (("exponent", ctypes.c_double), ("profile", ctypes.c_int32), ("result", ctypes.c_int32))


class Pairs(ctypes.Structure):
    """howfar_pairs of native/include/howfar.h: one call."""

    _fields_ = (
        *(
            (name, ctypes.c_void_p)
            for name in ("x", "y", "h", "f", "v", "out", "averages", "indices", "scale", "factor")
        ),
        ("part", ctypes.POINTER(Part)),
        *((name, ctypes.c_int64) for name in ("batch", "n", "m", "d", "q", "k")),
        *((name, ctypes.c_int64) for name in ("x_step", "y_step", "h_step", "f_step", "v_step")),
        *((name, ctypes.c_int64) for name in ("row_begin", "row_end")),
        *((name, ctypes.c_double) for name in ("exponent", "p")),
        *((name, ctypes.c_int32) for name in ("form", "threads", "parts", "results", "slope")),
        *((name, ctypes.c_void_p) for name in ("left", "right")),
        *((name, ctypes.c_int64) for name in ("r", "left_step", "right_step")),
        *((name, ctypes.c_int32) for name in ("tilt", "pull", "rest")),
    )


class Matrix(ctypes.Structure):
    """howfar_matrix of native/include/howfar.h: one call on an explicit matrix."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("c", "h", "f", "v", "left", "right", "out", "averages")),
        *((name, ctypes.c_void_p) for name in ("indices", "scale")),
        *((name, ctypes.c_int64) for name in ("batch", "n", "m", "q", "k", "r")),
        *((name, ctypes.c_int64) for name in ("c_step", "h_step", "f_step", "v_step", "left_step", "right_step")),
        *((name, ctypes.c_int64) for name in ("begin", "end")),
        *((name, ctypes.c_int32) for name in ("over_rows", "cost", "tilt", "threads")),
    )


class Alternation(ctypes.Structure):
    """howfar_alternation of native/include/howfar.h: one call."""

    _fields_ = (
        ("pairs", Pairs),
        *((name, ctypes.c_void_p) for name in ("cost", "a", "b", "f", "g", "start", "eps", "error", "iterations")),
        *((name, ctypes.c_int64) for name in ("cost_step", "a_step", "b_step", "count")),
        *((name, ctypes.c_double) for name in ("factor", "tol", "rho")),
        ("symmetric", ctypes.c_int32),
    )


class Sweep(ctypes.Structure):
    """howfar_sweep of native/include/howfar.h: one call."""

    _fields_ = (
        ("pairs", Pairs),
        *((name, ctypes.c_void_p) for name in ("a", "b", "f", "soft", "partial", "good")),
        *((name, ctypes.c_int64) for name in ("a_step", "b_step", "part", "columns", "part_begin", "part_end")),
        ("damping", ctypes.c_void_p),
        ("bound", ctypes.c_double),
        ("truncate", ctypes.c_int32),
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


def why_no_kernels() -> str | None:
    """Why there are no compiled kernels, with the fix; None when there are.

    Raises:
        DomainError: HOWFAR_ISA names no instruction set that can run here.
    """
    reason = why_unavailable()
    if reason is None and instruction_set() is None:
        return f"The compiled library {path()} holds no kernels: its compiler had no vector types. Build it with clang."
    return reason


@functools.cache
def instruction_set() -> str | None:
    """The instruction set of the kernels in use; None where the library holds none.

    Raises:
        BackendUnavailable: there is no library.
        DomainError: HOWFAR_ISA names no instruction set that can run here.
    """
    use = library().howfar_use
    wanted = os.environ.get(ENVIRONMENT_ISA)
    if not wanted:
        return _ISA_NAMES.get(int(use(0)))
    bit = next((bit for bit, name in _ISA_NAMES.items() if name == wanted), 0)
    if not bit or not use(bit):
        raise DomainError(
            complaint(
                ENVIRONMENT_ISA,
                f"one of {', '.join(instruction_sets())}, which this processor runs",
                repr(wanted),
                "Unset that environment variable for the best of them.",
            )
        )
    return wanted


def threads() -> int:
    """How many threads a call may use: as torch, but one in a forked child, whose parent kept the pool."""
    import torch

    return 1 if _forked else int(torch.get_num_threads())


@functools.cache
def _kernel(name: str, single: bool) -> Any:
    return getattr(library(), f"howfar_{name}_{'f32' if single else 'f64'}")


def call(kernel: str, single: bool, arguments: Pairs | Matrix | Alternation | Sweep) -> None:
    """Run one kernel, in float32 if `single`, else in float64. The interpreter lock is released meanwhile."""
    _check_status(kernel, _kernel(kernel, single)(ctypes.byref(arguments)))


def call_ragged(kernel: str, single: bool, pairs: Pairs, x_offsets: int, y_offsets: int) -> None:
    """Run one kernel on a ragged batch; offsets are the addresses of batch + 1 integers of 64 bits."""
    function = getattr(library(), f"howfar_ragged_{'f32' if single else 'f64'}")
    _check_status(kernel, function(_KERNELS.index(kernel), ctypes.byref(pairs), x_offsets, y_offsets))


def _check_status(kernel: str, status: int) -> None:
    if status == -1:
        raise MemoryError(f"{kernel}: the compiled kernel found no memory for its working space")
    if status:
        raise BackendUnavailable(f"{kernel}: {why_no_kernels()}")


def ceiling(features: int, *, single: bool = True, exponential: bool = True, seconds: float = 0.05) -> float:
    """The pairs per second that the arithmetic alone allows: measured now, in registers, on the threads of a call.

    A pair is `features` multiply-adds and then an exponential and an addition, or without `exponential` a comparison.

    Raises:
        BackendUnavailable: there are no compiled kernels.
    """
    run = getattr(library(), f"howfar_ceiling_{'f32' if single else 'f64'}")
    count = threads()
    sums = (ctypes.c_double * count)()
    rounds, best, spent = max(1, 2**18 // (features + 16)), 0.0, 0.0
    # The best of several, as whatever else the machine does only ever slows one down.
    while spent < seconds:
        start = time.perf_counter()
        pairs = run(features, rounds, exponential, count, sums)
        elapsed = time.perf_counter() - start
        if pairs < 0:
            raise BackendUnavailable(f"ceiling: {why_no_kernels()}")
        best = max(best, pairs / elapsed)
        spent += elapsed
        rounds *= 2 if elapsed < seconds / 8 else 1
    return best


def tile(single: bool) -> tuple[int, int]:
    """Rows and columns of the tile of pairs that the kernels in use hold in registers.

    Raises:
        BackendUnavailable: there are no compiled kernels.
    """
    shape = (ctypes.c_int32 * 3)()
    if library().howfar_tile(shape):
        raise BackendUnavailable(f"tile: {why_no_kernels()}")
    return shape[0], shape[1 if single else 2]


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


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
    loaded.howfar_use.argtypes = (ctypes.c_uint32,)
    loaded.howfar_use.restype = ctypes.c_uint32
    for kernels, argument in (
        (_KERNELS, Pairs),
        (_MATRIX_KERNELS, Matrix),
        (("alternate",), Alternation),
        (("sweep",), Sweep),
    ):
        for name in (f"howfar_{kernel}_{precision}" for kernel in kernels for precision in ("f32", "f64")):
            getattr(loaded, name).argtypes = (ctypes.POINTER(argument),)
            getattr(loaded, name).restype = ctypes.c_int32
    for name in ("howfar_ragged_f32", "howfar_ragged_f64"):
        getattr(loaded, name).argtypes = (ctypes.c_int32, ctypes.POINTER(Pairs), ctypes.c_void_p, ctypes.c_void_p)
        getattr(loaded, name).restype = ctypes.c_int32
    pointer, count, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    for precision in ("f32", "f64"):
        function = getattr(loaded, f"howfar_ceiling_{precision}")
        function.argtypes = (count, count, ctypes.c_int32, ctypes.c_int32, pointer)
        function.restype = count
    loaded.howfar_tile.argtypes = (pointer,)
    loaded.howfar_tile.restype = ctypes.c_int32
    loaded.howfar_flow_new.argtypes = (count, count, pointer, pointer, number)
    loaded.howfar_flow_new.restype = pointer
    loaded.howfar_flow_free.argtypes = (pointer,)
    loaded.howfar_flow_free.restype = None
    loaded.howfar_flow_raise.argtypes = (pointer, number)
    loaded.howfar_flow_raise.restype = None
    loaded.howfar_flow_add.argtypes = (pointer, count, pointer, pointer, pointer)
    loaded.howfar_flow_start.argtypes = (pointer, pointer)
    loaded.howfar_flow_solve.argtypes = (pointer, number, number)
    loaded.howfar_flow_solve.restype = ctypes.c_int32
    loaded.howfar_flow_duals.argtypes = (pointer, pointer, pointer)
    loaded.howfar_flow_duals.restype = None
    loaded.howfar_flow_read.argtypes = (pointer, pointer, pointer, pointer)
    loaded.howfar_flow_read.restype = count
    loaded.howfar_flow_artificial.argtypes = (pointer,)
    loaded.howfar_flow_artificial.restype = count
