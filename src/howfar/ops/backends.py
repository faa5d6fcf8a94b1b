"""Which backend runs an op, and why another one cannot."""

from __future__ import annotations

from collections.abc import Callable

import torch

from howfar import _checks
from howfar._errors import BackendUnavailable, complaint
from howfar.ops import rehearsal as rehearsing

BACKENDS = ("auto", "reference", "cpu", "triton")


def choose(backend: str, op: str, device: torch.device, compiled: Callable[[], str | None]) -> str:
    """The backend to run; an explicit name never falls back.

    Args:
        backend: what the caller asked for.
        op: the op, for the message.
        device: where its tensors are.
        compiled: why the compiled CPU kernel cannot run it; None where it can. Asked on the CPU only.
    """
    rehearsal = rehearsing.current()
    if rehearsal is None and backend == "auto":
        return "cpu" if device.type == "cpu" and compiled() is None else "reference"
    _checks.check_choice(backend, "backend", BACKENDS)
    if rehearsal is not None:
        rehearsal.reasons = {name: why_not(name, op, device, compiled) or "" for name in BACKENDS[1:]}
    if backend == "auto":
        backend = "cpu" if device.type == "cpu" and compiled() is None else "reference"
    elif (reason := why_not(backend, op, device, compiled)) is not None:
        raise BackendUnavailable(
            complaint(
                "backend",
                "one that can run here",
                f"{backend!r}: {reason}",
                "Use backend='auto' or backend='reference'; `howfar doctor` lists what there is.",
            )
        )
    if rehearsal is not None:
        rehearsal.backend = backend
        if backend != "cpu":
            raise rehearsing.Elsewhere
    return backend


def why_not(backend: str, op: str, device: torch.device, compiled: Callable[[], str | None]) -> str | None:
    """Why the backend of that name cannot run this call; None where it can. Arguments as in `choose`."""
    if backend == "reference":
        return None
    wanted = "cpu" if backend == "cpu" else "cuda"
    if device.type != wanted:
        return f"it runs on {wanted} tensors and these are on {device}"
    if backend == "cpu":
        return compiled()
    return f"its kernel of {op} is proved by Triton's interpreter only and has not run on a GPU yet"
