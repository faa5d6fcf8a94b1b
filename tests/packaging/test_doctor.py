"""`howfar doctor`: every row is text, what is missing says why."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch

from howfar import _native, doctor


def test_sections_and_rows() -> None:
    report = doctor.report()
    assert list(report) == ["versions", "devices", "native library", "backends", "optional peers"]
    assert all(isinstance(text, str) and text for rows in report.values() for text in rows.values())
    assert list(report["versions"]) == ["howfar", "python", "torch", "numpy", "platform"]
    assert report["versions"]["torch"] == str(torch.__version__)
    assert report["versions"]["numpy"] == np.__version__
    assert list(report["devices"]) == ["cpu", "cuda", "mps"]
    assert list(report["backends"]) == ["reference", "cpu", "triton"]


def test_the_reference_backend_is_always_there() -> None:
    assert doctor.report()["backends"]["reference"] == "available"


def test_without_the_library_the_cpu_backend_gives_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "_load", lambda: "The reason.")
    report = doctor.report()
    assert report["native library"] == {"status": "not available: The reason."}
    assert report["backends"]["cpu"] == "not available: The reason."


def test_backends_are_those_that_the_op_folders_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "doctor.py"))
    monkeypatch.setattr(_native, "why_unavailable", lambda: None)
    monkeypatch.setattr(_native, "why_no_kernels", lambda: None)
    assert doctor._cpu_backend().startswith("not available: no op of this version has a compiled CPU kernel.")
    assert doctor._triton_backend().startswith("not available: no op of this version has a Triton kernel.")
    for op, backend in (("soft_minimum", "cpu"), ("nearest_neighbors", "cpu"), ("soft_minimum", "triton")):
        file = tmp_path / "ops" / op / f"{backend}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert doctor._cpu_backend() == "available for nearest_neighbors, soft_minimum"
    if not torch.cuda.is_available():
        assert doctor._triton_backend().startswith("not available: ")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda_says_why() -> None:
    built = torch.version.cuda is not None or torch.version.hip is not None
    assert ("finds no device" if built else "without CUDA") in doctor.report()["devices"]["cuda"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_devices_are_named() -> None:
    assert torch.cuda.get_device_name(0) in doctor.report()["devices"]["cuda"]


def test_peers_are_versions_or_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.report()["optional peers"]["torchmetrics"] == metadata.version("torchmetrics")

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert doctor.report()["optional peers"]["geomloss"] == "not installed. pip install geomloss"
