"""What this installation can do, and why not the rest: versions, devices, backends, peers. Data only; the CLI prints it."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import torch

from howfar import _native
from howfar._errors import DomainError
from howfar._version import __version__

_PEERS = ("geomloss", "pykeops", "ott-jax", "flash-sinkhorn", "torchmetrics")
_ONLY_REFERENCE = "no op of this version has a {} kernel. Use backend='auto' or 'reference'."


def report() -> dict[str, dict[str, str]]:
    """Section -> item -> what was found there; an item that is missing says why, and what to do.

    Sections: "versions", "devices", "native library", "backends", "optional peers". Nothing here is needed to be
    available except the reference backend. Peers are looked up by their metadata and not imported.

    Example:
        >>> import howfar.doctor
        >>> howfar.doctor.report()["backends"]["reference"]
        'available'
    """
    return {
        "versions": _versions(),
        "devices": _devices(),
        "native library": _native_library(),
        "backends": {"reference": "available", "cpu": _cpu_backend(), "triton": _triton_backend()},
        "optional peers": {name: _version(name) for name in _PEERS},
    }


def _versions() -> dict[str, str]:
    return {
        "howfar": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "torch": str(torch.__version__),
        "numpy": _version("numpy"),
        "platform": platform.platform(),
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return f"not installed. pip install {distribution}"


def _devices() -> dict[str, str]:
    return {
        "cpu": f"{os.cpu_count()} logical processors, torch uses {torch.get_num_threads()} threads",
        "cuda": _cuda(),
        "mps": "available" if torch.backends.mps.is_available() else "not available: needs macOS on Apple silicon",
    }


def _cuda() -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return "not available: this torch is built without CUDA. Install a CUDA build of torch."
    if not torch.cuda.is_available():
        return "not available: torch is built for CUDA and finds no device. Check the driver with nvidia-smi."
    return ", ".join(_describe(i) for i in range(torch.cuda.device_count()))


def _describe(index: int) -> str:
    device = torch.cuda.get_device_properties(index)
    return f"{device.name}, compute {device.major}.{device.minor}, {device.total_memory / 2**30:.0f} GiB"


def _native_library() -> dict[str, str]:
    reason = _native.why_unavailable()
    if reason is not None:
        return {"status": f"not available: {reason}"}
    return {
        "status": f"loaded from {_native.path()}",
        "interface": str(_native.ABI_VERSION),
        "instruction sets": ", ".join(_native.instruction_sets()),
        "in use": _instruction_set(),
    }


def _instruction_set() -> str:
    try:
        return _native.instruction_set() or f"not available: {_native.why_no_kernels()}"
    except DomainError as error:
        return f"not available: {error}"


def _cpu_backend() -> str:
    try:
        reason = _native.why_no_kernels()
    except DomainError as error:
        reason = str(error)
    if reason is not None:
        return f"not available: {reason}"
    return _kernels("cpu") or f"not available: {_ONLY_REFERENCE.format('compiled CPU')}"


def _triton_backend() -> str:
    if not (kernels := _kernels("triton")):
        return f"not available: {_ONLY_REFERENCE.format('Triton')}"
    if importlib.util.find_spec("triton") is None:
        return "not available: triton is not installed. Linux builds of torch with CUDA bring it."
    if not torch.cuda.is_available():
        return f"not available: it needs a CUDA device; cuda is {_cuda()}"
    return f"not chosen: its kernels, {kernels}, are proved by Triton's interpreter and have not run on a GPU yet"


def _kernels(backend: str) -> str:
    """Which ops have a file for the backend: the folders are the list, so that it cannot go stale."""
    ops = sorted(file.parent.name for file in Path(__file__).parent.glob(f"ops/*/{backend}.py"))
    return f"available for {', '.join(ops)}" if ops else ""
