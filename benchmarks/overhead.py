"""Claim: a call on 32 points costs little above the compiled kernel that it ends in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.clouds import clouds
from benchmarks.harness import Contender, Job
from howfar import _native, kernels, ops

_ABOVE_US = 40.0


def jobs(*, tiny: bool, long: bool) -> Iterator[Job]:  # noqa: ARG001
    """Every op, on its tiny call."""
    c = clouds(32, 3)
    x, y, h = c.x, c.y, c.h
    gaussian = kernels.Gaussian(0.7)
    nearest = lambda a, b: torch.cdist(a, b).square().min(1).values
    rows, columns, potential = c.wide()
    for name, ours, dense, truth in (
        (
            "softmin",
            lambda: ops.softmin(x, y, h, eps=c.eps),
            lambda: peers.dense_softmin(x, y, h, c.eps),
            peers.dense_softmin(rows, columns, potential, c.eps),
        ),
        (
            "kernel_sum",
            lambda: ops.kernel_sum(x, y, h, kernel=gaussian),
            lambda: peers.dense_gaussian(x, y, h, 0.7),
            peers.dense_gaussian(rows, columns, potential, 0.7),
        ),
        (
            "nearest",
            lambda: ops.nearest(x, y)[0].squeeze(-1),
            lambda: nearest(x, y),
            nearest(rows, columns),
        ),
    ):
        yield Job(
            title=f"{name}, a tiny call, {c.sizes}",
            dtype=x.dtype,
            contenders=[
                Contender("howfar", ours, remark=lambda ours=ours: above_kernel(ours)),
                Contender("torch, dense", dense),
            ],
            error=lambda value, truth=truth: c.error(value, truth),
            budget=1e-4,
        )


def above_kernel(call: Callable[[], Tensor], calls: int = 200) -> str:
    """How much of a call passes outside of the compiled kernels."""
    if (reason := _native.why_no_kernels()) is not None:
        return f"no kernel: {reason}"
    inside = 0.0
    kernel = _native.call

    def timed(*args: object) -> None:
        nonlocal inside
        start = time.perf_counter()
        kernel(*args)  # type: ignore[arg-type]
        inside += time.perf_counter() - start

    above = []
    _native.call = timed  # type: ignore[assignment]
    try:
        for _ in range(calls):
            inside = 0.0
            start = time.perf_counter()
            call()
            above.append(time.perf_counter() - start - inside)
    finally:
        _native.call = kernel
    median = 1e6 * sorted(above)[calls // 2]
    return f"{median:.0f} us of it above the kernel (claimed: at most {_ABOVE_US:.0f})"
