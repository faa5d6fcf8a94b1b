"""What CONTRIBUTING promises of costs, kernels, ops and backends: whoever adds one sees red here until it is whole."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import howfar
from howfar import _native, costs, kernels, ops
from howfar.ops import backends

OPS = Path(ops.__file__).parent
FOLDERS = sorted(file.parent for file in OPS.glob("*/op.py"))


def classes(module: Any, base: type) -> list[type]:
    """The classes of a module that inherit from its base."""
    found = [c for _, c in inspect.getmembers(module, inspect.isclass) if issubclass(c, base) and c is not base]
    return [c for c in found if c.__module__ == module.__name__]


def cubic(x: Tensor, y: Tensor) -> Tensor:
    return (x[:, None, :] - y[None, :, :]).abs().pow(3).sum(-1)


COSTS = {type(cost): cost for cost in costs.COSTS.values()} | {
    costs.Minkowski: costs.Minkowski(3.0),
    costs.Power: costs.Power(costs.Euclidean(), 1.5),
    costs.Custom: costs.Custom(cubic),
}
KERNELS = {kind: kind() for kind in kernels.KERNELS.values()} | {
    kernels.Sum: kernels.Gaussian(0.5) + kernels.Laplacian(2.0),
}
CONDITIONALLY_DEFINITE = {kernels.Energy}


def test_every_cost_and_kernel_is_held_to_the_laws() -> None:
    assert set(classes(costs, costs.Cost)) == set(COSTS)
    assert set(classes(kernels, kernels.Kernel)) == set(KERNELS)


def clouds(*, batch: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    return torch.randn(*batch, 6, 3, dtype=torch.float64), torch.randn(*batch, 5, 3, dtype=torch.float64)


@pytest.mark.parametrize("cost", COSTS.values(), ids=lambda cost: type(cost).__name__)
def test_laws_of_a_cost(cost: costs.Cost) -> None:
    x, y = clouds()
    matrix = cost.matrix(x, y)
    assert matrix.shape == (6, 5)
    assert bool((matrix >= 0).all())
    assert_close(cost.swapped().matrix(y, x), matrix.mT)
    if cost.degree is not None:
        assert_close(cost.matrix(3 * x, 3 * y), 3**cost.degree * matrix)
    batch = clouds(batch=(2,))
    assert_close(cost.matrix(*batch), torch.stack([cost.matrix(*pair) for pair in zip(*batch, strict=True)]))
    assert torch.autograd.gradcheck(lambda a, b: cost.matrix(a, b), (x.requires_grad_(), y.requires_grad_()))


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=lambda kernel: type(kernel).__name__)
def test_laws_of_a_kernel(kernel: kernels.Kernel) -> None:
    x, y = clouds()
    gram = kernel.matrix(x, x)
    assert_close(gram, gram.mT)
    assert_close(kernel.diagonal(x), gram.diagonal())
    if type(kernel) in CONDITIONALLY_DEFINITE:
        gram = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
    assert bool((torch.linalg.eigvalsh(gram) > -1e-9).all()), "positive definite"
    batch = clouds(batch=(2,))
    assert_close(kernel.matrix(*batch), torch.stack([kernel.matrix(*pair) for pair in zip(*batch, strict=True)]))
    assert torch.autograd.gradcheck(lambda a, b: kernel.matrix(a, b), (x.requires_grad_(), y.requires_grad_()))


@pytest.mark.parametrize("formula", [*COSTS.values(), *KERNELS.values()], ids=lambda formula: type(formula).__name__)
def test_gradients_are_finite_where_points_coincide(formula: costs.Cost | kernels.Kernel) -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1.0, 2.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(formula.matrix(x, x).sum(), x)
    assert bool(gradient.isfinite().all())


X, Y = torch.linspace(0, 1, 21).reshape(7, 3), torch.linspace(-1, 2, 15).reshape(5, 3)
H, W, V = torch.linspace(0, 1, 5), torch.linspace(1, 2, 5), torch.linspace(0, 3, 10).reshape(5, 2)
C = torch.cdist(X.double(), Y.double()).square()
SOFT = (H - C) / 0.5
CALLS: dict[str, tuple[Callable[[str], Any], Any]] = {
    "softmin": (
        lambda backend: ops.softmin(X, Y, H, eps=0.5, backend=backend),
        -0.5 * SOFT.logsumexp(1),
    ),
    "softmin_apply": (
        lambda backend: ops.softmin_apply(X, Y, H, V, eps=0.5, backend=backend),
        (-0.5 * SOFT.logsumexp(1), SOFT.softmax(1) @ V.double()),
    ),
    "kernel_sum": (
        lambda backend: ops.kernel_sum(X, Y, W, kernel="gaussian", backend=backend),
        torch.exp(-C / 2) @ W.double(),
    ),
    "nearest": (
        lambda backend: ops.nearest(X, Y, H, k=2, backend=backend),
        tuple((C - H).topk(2, dim=1, largest=False)),
    ),
}
"""Op -> a call on small data, and the same by its dense formula in float64."""


def test_every_op_has_a_folder_and_a_dense_formula_here() -> None:
    assert set(ops.__all__) - {"Explanation", "explain"} == set(CALLS)
    assert {getattr(ops, name).__module__ for name in CALLS} == {f"howfar.ops.{folder.name}.op" for folder in FOLDERS}
    for folder in FOLDERS:
        assert (folder / "reference.py").is_file()
    for name in CALLS:
        assert inspect.signature(getattr(ops, name)).parameters["backend"].default == "auto"


@pytest.mark.parametrize("op", CALLS)
def test_a_backend_agrees_with_the_formula_or_says_why_it_cannot_run(op: str) -> None:
    call, expected = CALLS[op]
    for backend in backends.BACKENDS:
        if backend == "triton" or (backend == "cpu" and _native.why_no_kernels() is not None):
            with pytest.raises(howfar.BackendUnavailable, match=f"'{backend}': "):
                call(backend)
        else:
            assert_close(call(backend), expected, check_dtype=False, rtol=1e-5, atol=1e-5)


def test_no_file_of_a_backend_is_out_of_reach() -> None:
    served = {(folder.name, file.stem) for folder in FOLDERS for file in folder.glob("*.py")}
    served = {(op, backend) for op, backend in served if backend not in {"__init__", "op", "reference"}}
    assert {backend for _, backend in served} <= set(backends.BACKENDS)
    if _native.why_no_kernels() is not None:
        served = {(folder, backend) for folder, backend in served if backend != "cpu"}
    for folder, backend in served - {(folder, "triton") for folder, _ in served}:
        names = [name for name in CALLS if getattr(ops, name).__module__ == f"howfar.ops.{folder}.op"]
        assert names, f"ops/{folder} has no op that a recipe calls"
        for name in names:
            call, expected = CALLS[name]
            assert_close(call(backend), expected, check_dtype=False, rtol=1e-5, atol=1e-5)
