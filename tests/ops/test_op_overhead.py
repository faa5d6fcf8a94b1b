"""What a call pays beside its kernel."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from op_cases import clouds, potential

from howfar import _native, kernels, ops

GAUSSIAN = kernels.Gaussian(1.0)
OPS: dict[str, Callable[..., Any]] = {
    "softmin": lambda x, y, h: ops.softmin(x, y, h, eps=0.1),
    "kernel_sum": lambda x, y, h: ops.kernel_sum(x, y, h, kernel=GAUSSIAN),
    "nearest": lambda x, y, h: ops.nearest(x, y, h),
}


def microseconds(call: Callable[[], Any]) -> float:
    """The best mean of ten calls: other processes make the rest slower, never faster."""
    best = float("inf")
    for _ in range(400):
        start = time.perf_counter()
        for _ in range(10):
            call()
        best = min(best, (time.perf_counter() - start) / 10)
    return 1e6 * best


MOST_ADDITIONS = 50
"""What a call may cost beside its kernel, in additions of tensors as small: both are calls into torch from Python."""


@pytest.mark.slow
@pytest.mark.skipif(_native.why_no_kernels() is not None, reason="no compiled kernels here")
@pytest.mark.parametrize("name", OPS)
def test_a_tiny_call_is_cheap(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = (*clouds(32, 32, 3, dtype=torch.float32), potential(32, dtype=torch.float32))
    call = lambda: OPS[name](*inputs)
    addition = microseconds(lambda: inputs[0] + inputs[1])
    whole = microseconds(call)
    alone: list[float] = []

    def timed(kernel: str, single: bool, pairs: _native.Pairs) -> None:
        function = getattr(_native.library(), f"howfar_{kernel}_{'f32' if single else 'f64'}")
        alone.append(microseconds(lambda: function(ctypes.byref(pairs))))

    monkeypatch.setattr(_native, "call", timed)
    call()
    addition = max(addition, microseconds(lambda: inputs[0] + inputs[1]))
    print(f"\n{name}: {whole:.1f} us, of which the kernel {sum(alone):.1f} us; an addition: {addition:.2f} us")  # noqa: T201
    assert whole - sum(alone) < MOST_ADDITIONS * addition


@pytest.mark.slow
@pytest.mark.skipif(_native.why_no_kernels() is not None, reason="no compiled kernels here")
@pytest.mark.parametrize("d", [3, 16, 64, 100])
@pytest.mark.parametrize("eps", [0.1, 1e-3])
def test_a_derivative_costs_at_most_two_and_a_half_values(d: int, eps: float) -> None:
    """Of processor time on one thread; also at temperatures whose scores float32 rounds coarsely."""
    x, y = clouds(3000, 3000, d, dtype=torch.float32)
    h = eps * potential(3000, dtype=torch.float32)
    leaves = [t.clone().requires_grad_() for t in (x, y, h)]
    kept = ops.softmin(*leaves, eps=eps).sum()
    value = lambda: ops.softmin(x, y, h, eps=eps)
    derivative = lambda: torch.autograd.grad(kept, leaves, retain_graph=True)
    before = torch.get_num_threads()
    best = [float("inf")] * 2
    try:
        torch.set_num_threads(1)
        for _ in range(20):
            for i, call in enumerate((value, derivative)):
                start = time.process_time()
                call()
                best[i] = min(best[i], time.process_time() - start)
    finally:
        torch.set_num_threads(before)
    print(f"\nd = {d}, eps = {eps}: {1e3 * best[0]:.1f} ms, derivative {best[1] / best[0]:.2f} times that")  # noqa: T201
    assert best[1] <= 2.5 * best[0]
