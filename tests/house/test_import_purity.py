"""`import howfar` loads torch and nothing else that is heavy, and leaves the process as it was."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest

HEAVY = (
    "polars",
    "narwhals",
    "pandas",
    "pyarrow",
    "plotly",
    "matplotlib",
    "triton",
    "scipy",
    "ot",
    "jinja2",
    "markupsafe",
    "typer",
    "rich",
    "sklearn",
    "torchmetrics",
    "safetensors",
    "PIL",
)


def in_a_fresh_process(program: str) -> dict[str, Any]:
    """What the program leaves in `told`, from an interpreter of its own whose warnings are errors."""
    script = f"told = {{}}\n{program}\nimport json\nprint(json.dumps(told))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


IMPORT = f"""
import os, random, signal, sys, warnings
import numpy, torch

def state():
    return {{
        'default dtype': str(torch.get_default_dtype()),
        'random state of torch': torch.get_rng_state().tolist(),
        'random state of numpy': [str(part) for part in numpy.random.get_state()],
        'random state of Python': str(random.getstate()),
        'warning filters': [str(f) for f in warnings.filters],
        'threads': [torch.get_num_threads(), torch.get_num_interop_threads()],
        'grad mode': torch.is_grad_enabled(),
        'deterministic': torch.are_deterministic_algorithms_enabled(),
        'precision of products': [torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32],
        'denormals': [1e-310 * 0.5 != 0, (torch.full((64,), 1e-310, dtype=torch.float64) * 0.5 != 0).all().item()],
        'numpy errors': numpy.geterr(),
        'print options': str(vars(torch._tensor_str.PRINT_OPTS)),
        'environment': dict(os.environ),
        'signal handlers': [str(signal.getsignal(s)) for s in (signal.SIGINT, signal.SIGTERM)],
    }}

def look(name, before, since):
    loaded = {{module.split('.')[0] for module in set(sys.modules) - since}}
    after = state()
    told[name] = {{
        'heavy': sorted(loaded & set({HEAVY!r})),
        'third party': sorted(loaded - set(sys.stdlib_module_names) - {{'howfar', 'torch', 'numpy'}}),
        'changed': [what for what in before if before[what] != after[what]],
        'denormals': after['denormals'],
    }}

start = state(), set(sys.modules)
import howfar
look('import howfar', *start)
told['cuda'] = torch.cuda.is_initialized()

import markupsafe
torch.set_default_dtype(torch.float64)
torch.manual_seed(1)
warnings.simplefilter('ignore')
torch.set_flush_denormal(True)
look('self-test', *start)
"""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    return in_a_fresh_process(IMPORT)


def test_the_import_loads_torch_only(told: dict[str, Any]) -> None:
    assert told["import howfar"]["heavy"] == []
    assert told["import howfar"]["third party"] == []
    assert told["cuda"] is False


def test_the_import_changes_no_global_state(told: dict[str, Any]) -> None:
    assert told["import howfar"]["changed"] == []
    assert told["import howfar"]["denormals"] == [True, True]


def test_the_look_sees_a_package_and_a_changed_state(told: dict[str, Any]) -> None:
    assert told["self-test"]["heavy"] == told["self-test"]["third party"] == ["markupsafe"]
    changed = ["default dtype", "random state of torch", "warning filters", "denormals"]
    assert told["self-test"]["changed"] == changed


BLOCKED = f"""
import sys
sys.modules.update({{name: None for name in {HEAVY!r}}})
import torch, howfar
x = torch.tensor([[0.0], [1.0]])
square = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
told['transport'] = howfar.sinkhorn_divergence(square, square + 2, blur=0.1).item()
told['sliced'] = howfar.sliced_wasserstein(x, x + 2).item()
told['mmd2'] = howfar.mmd2(x, x + 2, bandwidth=1.0, estimator='biased').item()
told['energy'] = howfar.energy_distance(x, x + 2).item()
told['kl'] = howfar.kl(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])).item()
told['penalty'] = howfar.adversarial.gradient_penalty(lambda z: 2 * z, real=x, fake=x + 2).item()
told['test'] = howfar.two_sample_test(square, square + 2, statistic='energy_distance').p_value
told['cuda'] = torch.cuda.is_initialized()
from howfar import _native
try:
    told['exact'] = howfar.wasserstein(square, square + 2).item()
except ModuleNotFoundError as error:
    told['exact'] = error.name
told['compiled'] = _native.why_unavailable() is None
"""


def test_losses_and_tests_run_without_any_of_the_heavy_packages() -> None:
    told = in_a_fresh_process(BLOCKED)
    bump = lambda distance: math.exp(-(distance**2) / 2)
    assert told["transport"] == pytest.approx(8, rel=1e-4)
    assert told["sliced"] == pytest.approx(2)
    assert told["mmd2"] == pytest.approx(1 + bump(1) - bump(2) - bump(1) / 2 - bump(3) / 2)
    assert told["energy"] == pytest.approx(3)
    assert told["kl"] == pytest.approx(math.log(2))
    assert told["penalty"] == pytest.approx(10)
    assert told["test"] == pytest.approx(1 / 3)
    assert told["cuda"] is False
    # Only exact transport without the compiled library needs another solver, and only then loads it.
    assert told["exact"] == (pytest.approx(8**0.5) if told["compiled"] else "ot")
