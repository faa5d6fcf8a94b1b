"""Which backend runs an op, and why another one cannot."""

from __future__ import annotations

from collections.abc import Callable

import torch

from howfar import _checks
from howfar._errors import BackendUnavailable, complaint

BACKENDS = ("auto", "reference", "cpu", "triton")


def choose(backend: str, op: str, device: torch.device, compiled: Callable[[], str | None]) -> str:
    """The backend to run; an explicit name never falls back.

    Args:
        backend: what the caller asked for.
        op: the op, for the message.
        device: where its tensors are.
        compiled: why the compiled CPU kernel cannot run it; None where it can. Asked on the CPU only.
    """
    if backend == "auto":
        return "cpu" if device.type == "cpu" and compiled() is None else "reference"
    _checks.check_choice(backend, "backend", BACKENDS)
    if backend == "reference":
        return backend
    wanted = "cpu" if backend == "cpu" else "cuda"
    if device.type != wanted:
        reason: str | None = f"it runs on {wanted} tensors and these are on {device}"
    elif backend == "cpu":
        reason = compiled()
    else:
        reason = f"its kernel of {op} is proved by Triton's interpreter only and has not run on a GPU yet"
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
