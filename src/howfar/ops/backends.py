"""Which backend runs an op, and why another one cannot."""

from __future__ import annotations

import torch

from howfar import _checks
from howfar._errors import BackendUnavailable, complaint

BACKENDS = ("auto", "reference", "cpu", "triton")


def why_unavailable(backend: str, op: str, device: torch.device) -> str | None:
    """Why `backend` cannot run `op` on `device`, or None where it can."""
    if backend == "reference":
        return None
    wanted = "cpu" if backend == "cpu" else "cuda"
    if device.type != wanted:
        return f"it runs on {wanted} tensors and these are on {device}"
    return f"this version has no compiled {op} for {wanted}"


def choose(backend: str, op: str, device: torch.device) -> str:
    """The backend to run; an explicit name never falls back."""
    _checks.check_choice(backend, "backend", BACKENDS)
    if backend == "auto":
        return next((b for b in ("cpu", "triton") if why_unavailable(b, op, device) is None), "reference")
    reason = why_unavailable(backend, op, device)
    if reason is not None:
        raise BackendUnavailable(
            complaint(
                "backend",
                "one that can run here",
                f"{backend!r}: {reason}",
                "Use backend='auto' or backend='reference'; `howfar doctor` lists what there is.",
            )
        )
    return backend
