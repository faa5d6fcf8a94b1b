"""Threads, forks, signals and memory: what a compiled call may do to the process that makes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import torch
from native_children import child

from howfar import _native, kernels, ops
from howfar._errors import BackendUnavailable

SAMPLES = """
import torch, howfar
from howfar import ops, kernels
g = torch.Generator().manual_seed(0)
x, y, h = torch.rand(700, 5, generator=g), torch.rand(3000, 5, generator=g), torch.rand(3000, generator=g)
"""


def everything(n: int = 700) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(n, 5, generator=generator), torch.rand(3000, 5, generator=generator)
    h = torch.rand(3000, generator=generator)
    many = torch.rand(3000, 30, generator=generator)
    return [
        *ops.softmin_apply(x, y, h, y, eps=0.05, backend="cpu"),
        ops.softmin(x, y, h, eps=1e-4, cost="euclidean", backend="cpu"),
        ops.kernel_sum(x, y, h, kernel=kernels.Gaussian(0.3), backend="cpu"),
        ops.kernel_sum(x, y, many, kernel=kernels.Energy(), backend="cpu"),
        *ops.nearest(x, y, h, k=9, backend="cpu"),
    ]


@pytest.fixture
def _threads_of_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads_of_before")
@pytest.mark.parametrize("n", [3, 97, 700])
def test_the_bits_do_not_depend_on_the_number_of_threads_nor_on_the_run(n: int) -> None:
    torch.set_num_threads(1)
    expected = everything(n)
    for threads in (1, 2, 3, 5):
        torch.set_num_threads(threads)
        assert all(torch.equal(a, b) for a, b in zip(everything(n), expected, strict=True)), f"{threads} threads"


def test_nor_on_the_pieces_that_a_long_call_is_cut_into(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = everything()
    calls: list[tuple[int, int]] = []
    run = _native.call
    monkeypatch.setattr("howfar.ops.compiled._SECONDS", 1e-9)
    monkeypatch.setattr(
        _native, "call", lambda name, single, p: (calls.append((p.row_begin, p.row_end)), run(name, single, p))
    )
    assert all(torch.equal(a, b) for a, b in zip(everything(), expected, strict=True))
    assert (96, 192) in calls


def test_several_threads_of_python_at_once() -> None:
    expected = everything()
    results: list[list[torch.Tensor]] = []
    workers = [threading.Thread(target=lambda: results.append(everything())) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 4
    assert all(torch.equal(a, b) for found in results for a, b in zip(found, expected, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize(
    "call",
    [
        "(ops.softmin(x, y, h, eps=.1, backend='cpu'),)",
        "sweep.between_points(x, y, costs.SqEuclidean(), 'auto', turn, in_order=False)",
        "(howfar.transport(x[:12].view(3, 4, 5), y[:12].view(3, 4, 5), eps=.1).value,)",
    ],
    ids=["softmin", "sweep", "alternation"],
)
def test_a_forked_child_neither_hangs_nor_crashes(call: str) -> None:
    code = SAMPLES + (
        "import os\n"
        "from howfar import costs\n"
        "from howfar.ops import sweep\n"
        "torch.set_num_threads(2)\n"
        "g, a, b, one = torch.zeros(3000), torch.ones(700), torch.ones(3000), torch.ones(())\n"
        "turn = sweep.Turn(ops.softmin(x, y, g, eps=.1), g, a, b, .1 * one, one)\n"
        f"mine = {call}\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        f"    os._exit(0 if all(map(torch.equal, {call}, mine)) else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert child(code, timeout=60).splitlines()[-1] == "0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_workers_of_a_data_loader() -> None:
    code = SAMPLES + (
        "class Rows(torch.utils.data.Dataset):\n"
        "    def __len__(self): return 6\n"
        "    def __getitem__(self, i): return ops.kernel_sum(x[i:], y, h, kernel=kernels.Gaussian(.3), backend='cpu')[0]\n"
        "whole = ops.kernel_sum(x, y, h, kernel=kernels.Gaussian(.3), backend='cpu')\n"
        "loader = torch.utils.data.DataLoader(Rows(), num_workers=2, multiprocessing_context='fork')\n"
        "print(torch.equal(torch.cat(list(loader)), whole[:6]))\n"
    )
    assert child(code, timeout=90) == "True"


LONG = {
    "softmin": "ops.softmin(x, x, torch.zeros(len(x)), eps=.1, backend='cpu')",
    "kernel_sum": "ops.kernel_sum(x, x, torch.ones(len(x), 9), kernel='laplacian', backend='cpu')",
    "nearest": "ops.nearest(x, x, k=128, backend='cpu')",
}


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
@pytest.mark.parametrize("op", LONG)
def test_ctrl_c_is_answered_within_a_second(op: str) -> None:
    code = (
        "import torch\n"
        "from howfar import ops\n"
        "torch.set_num_threads(1)\n"
        "for n in (200, 2_000_000):\n"
        "    x = torch.rand(n, 3)\n"
        "    if n > 200: print('ready', flush=True)\n"
        f"    try: {LONG[op]}\n"
        "    except KeyboardInterrupt: print('interrupted', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        before = time.perf_counter()
        assert process.stdout.readline() == "interrupted\n"
        assert time.perf_counter() - before < 1
        process.wait(timeout=30)


def test_denormals_stay_on() -> None:
    code = SAMPLES + (
        "for _ in range(3): ops.softmin(x, y, h, eps=0.1, backend='cpu')\n"
        "tiny = torch.full((64,), 1e-310, dtype=torch.float64)\n"
        "print(1e-310 * 0.5 > 0, bool((tiny * 0.5 > 0).all()))\n"
    )
    assert child(code) == "True True"


@pytest.mark.slow
def test_memory_stays_linear(peak_growth: Callable[[str, str], float]) -> None:
    preparation = """
import torch, howfar
x, y = torch.rand(100_000, 3), torch.rand(100_000, 3)
howfar.ops.softmin(x[:500], y[:500], torch.zeros(500), eps=.1, backend="cpu")
"""
    calls = """
howfar.ops.softmin(x, y, torch.zeros(100_000), eps=.1, backend="cpu")
howfar.ops.nearest(x, y, k=4, backend="cpu")
"""
    assert peak_growth(preparation, calls) < 100


def test_an_instruction_set_can_be_forced() -> None:
    code = "from howfar import _native; print(_native.instruction_set())"
    for name in _native.instruction_sets():
        assert child(code, HOWFAR_ISA=name) == name


@pytest.mark.parametrize("name", ["sse9", "neon"])
def test_one_that_is_not_there_is_an_error_by_name(name: str) -> None:
    if name in _native.instruction_sets():
        pytest.skip(f"this processor has {name}")
    code = (
        "import torch, howfar\n"
        "from howfar import doctor\n"
        "x = torch.rand(3, 2)\n"
        "try: howfar.ops.softmin(x, x, torch.zeros(3), eps=1.0)\n"
        "except howfar.DomainError as error: print(error)\n"
        "print(doctor.report()['native library']['in use'])\n"
    )
    error, row = child(code, HOWFAR_ISA=name).splitlines()
    assert error.startswith("HOWFAR_ISA: expected one of portable")
    assert f"got '{name}'" in error
    assert row == f"not available: {error}"


def test_without_the_library_everything_still_runs() -> None:
    code = SAMPLES + (
        "from howfar._errors import BackendUnavailable\n"
        "print(bool(ops.softmin(x, y, h, eps=0.1).isfinite().all()), ops.nearest(x, y)[1].shape[0])\n"
        "try: ops.softmin(x, y, h, eps=0.1, backend='cpu')\n"
        "except BackendUnavailable as error: print(error)\n"
    )
    result, error = child(code, HOWFAR_NATIVE="0").splitlines()
    assert result == "True 700"
    assert "is switched off by HOWFAR_NATIVE=0" in error


def test_an_explicit_backend_never_falls_back() -> None:
    x = torch.rand(4, 2)
    with pytest.raises(BackendUnavailable, match="not one of the compiled ones"):
        ops.softmin(x, x, torch.zeros(4), eps=1.0, cost=lambda a, b: torch.cdist(a, b), backend="cpu")
    with pytest.raises(BackendUnavailable, match="up to 128 neighbours"):
        ops.nearest(torch.rand(200, 2), torch.rand(200, 2), k=129, backend="cpu")
    assert ops.nearest(torch.rand(200, 2), torch.rand(200, 2), k=129)[1].shape == (200, 129)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # by torch itself
def test_a_forward_derivative_goes_through_the_reference() -> None:
    x, y, h = torch.rand(6, 2, dtype=torch.float64), torch.rand(5, 2, dtype=torch.float64), torch.rand(5).double()
    one = lambda points: ops.softmin(points, y, h, eps=0.5)
    value, tangent = torch.func.jvp(one, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(value, one(x))
    step = 1e-6
    torch.testing.assert_close(tangent, (one(x + step) - one(x - step)) / (2 * step), rtol=1e-6, atol=1e-8)
