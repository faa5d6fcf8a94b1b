"""Where it was measured."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import torch

from howfar import doctor

_PEERS = (
    "pykeops", "geomloss", "POT", "ott-jax", "jax", "flash-sinkhorn", "scipy", "scikit-learn", "torchmetrics",
)  # fmt: skip


def machine() -> dict[str, object]:
    """The machine, how busy it is with other things, and the versions of all that was measured."""
    found = doctor.report()
    peers = {name: _version(name) for name in _PEERS}
    return {
        "processor": _processor(),
        "logical_processors": os.cpu_count(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "threads": torch.get_num_threads(),
        "versions": found["versions"] | {name: version for name, version in peers.items() if version},
        "devices": found["devices"],
        "native_library": found["native library"],
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    """Its name as sold; on Linux `platform.processor()` has the architecture at most."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
