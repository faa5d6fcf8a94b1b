"""`explain` says what runs, by the calls that the kernels then get, and computes nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from op_cases import crooked

import howfar
from howfar import _native, costs, kernels, ops
from howfar.ops import compiled
from howfar.ops.kernel_summation import reference as summation
from howfar.ops.nearest_neighbors import reference as neighbors
from howfar.ops.rehearsal import rehearsed
from howfar.ops.soft_minimum import reference as minimum

FORMS = {number: name for name, number in compiled.FORMS.items()}
Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def clouds(n: int, m: int, d: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.rand(k, d, generator=generator, dtype=dtype) for k in (n, m))
    return x, y, torch.zeros(m, dtype=dtype)


def calls() -> dict[str, Call]:
    x, y, h = clouds(300, 200, 3)
    wide = clouds(300, 200, 100)
    double = clouds(300, 200, 20, torch.float64)
    columns = torch.ones(200, 12)
    return {
        "softmin": (ops.softmin, (x, y, h), {"eps": 0.1}),
        "softmin, few pairs": (ops.softmin, (x[:5], y, h), {"eps": 0.1}),
        "softmin, product": (ops.softmin, wide, {"eps": 5.0}),
        "softmin, widened": (ops.softmin, wide, {"eps": 1e-6}),
        "softmin, float64": (ops.softmin, double, {"eps": 0.1}),
        "softmin, half": (ops.softmin, tuple(t.half() for t in (x, y, h)), {"eps": 0.1}),
        "softmin, cosine": (ops.softmin, (x, y, h), {"eps": 0.1, "cost": "cosine"}),
        "softmin, minkowski": (ops.softmin, (x, y, h), {"eps": 0.1, "cost": costs.Minkowski(3)}),
        "softmin, callable": (ops.softmin, (x, y, h), {"eps": 0.1, "cost": crooked}),
        "softmin, reference": (ops.softmin, (x, y, h), {"eps": 0.1, "backend": "reference"}),
        "softmin, batch": (ops.softmin, (x.expand(4, -1, -1), y, h), {"eps": 0.1}),
        "softmin_apply": (ops.softmin_apply, (x, y, h, y), {"eps": 0.1}),
        "kernel_sum": (ops.kernel_sum, (x, y, h), {"kernel": "gaussian"}),
        "kernel_sum, columns": (ops.kernel_sum, (x, y, columns), {"kernel": kernels.Laplacian(0.5)}),
        "kernel_sum, several": (
            ops.kernel_sum,
            (x, y, columns),
            {"kernel": kernels.Sum([kernels.Gaussian(1.0), kernels.Linear()])},
        ),
        "nearest": (ops.nearest, (x, y), {"k": 3}),
        "nearest, many": (ops.nearest, (x, y), {"k": 150}),
        "nearest, features": (ops.nearest, wide, {}),
    }


Started = set[tuple[Any, ...]]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """What the kernels that were started were given."""
    seen: Started = set()
    call = _native.call

    def noted(kernel: str, single: bool, pairs: Any) -> None:
        dtype = torch.float32 if single else torch.float64
        seen.add((kernel, FORMS[pairs.form], dtype, pairs.n, pairs.m, pairs.d, pairs.q))
        call(kernel, single, pairs)

    monkeypatch.setattr(_native, "call", noted)
    return seen


@pytest.mark.parametrize("name", calls())
def test_what_it_says_is_what_runs(name: str, started: Started) -> None:
    op, given, options = calls()[name]
    told = ops.explain(op, *given, **options)
    assert not started, "the reduction was computed"
    op(*given, **options)
    if told.backend == "cpu":
        assert {(p.kernel, p.form, p.dtype, p.n, p.m, p.d, p.columns) for p in told.passes} == started
        assert told.instruction_set == _native.instruction_set()
    else:
        assert told.backend == "reference"
        assert not started
    assert sorted(told.why_not) == sorted({"reference", "cpu", "triton"} - {told.backend})
    assert all(told.why_not.values())


def test_the_reference_is_left_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> None:
        raise AssertionError(args)

    for module, name in ((minimum, "softmin"), (summation, "kernel_sum"), (neighbors, "nearest")):
        monkeypatch.setattr(module, name, never)
    x, y, h = clouds(300, 200, 3)
    for op, options in (("softmin", {"eps": 0.1}), ("kernel_sum", {"kernel": "gaussian"}), ("nearest", {})):
        assert ops.explain(op, x, y, h, backend="reference", **options).backend == "reference"


@pytest.mark.skipif(_native.why_unavailable() is not None, reason="forms and precisions are those of compiled kernels")
def test_why_it_goes_to_float64_by_itself() -> None:
    x, y, h = clouds(300, 200, 100)
    (gentle,), (sharp,) = (ops.explain("softmin", x, y, h, eps=eps).passes for eps in (5.0, 1e-6))
    assert (gentle.form, gentle.dtype) == ("product", torch.float32)
    assert gentle.why.startswith("its rounding changes scores in base 2 by at most 2^-")
    assert sharp.dtype == torch.float64
    assert sharp.why.startswith("a product in float32 could change scores in base 2 by 2^")


def test_the_text_says_why_not() -> None:
    x, y, h = clouds(300, 200, 3)
    lines = str(ops.explain("softmin", x, y, h, eps=0.1, cost=crooked)).splitlines()
    assert lines[0].startswith("softmin on reference (")
    assert lines[1].startswith(
        "  300 x 200 pairs, 3 features: the formula in plain torch, in float32, 300 x 200 at once"
    )
    assert lines[2:] == [
        "  not cpu: the cost 'custom' is not one of the compiled ones",
        "  not triton: it runs on cuda tensors and these are on cpu",
    ]


def test_memory_grows_with_the_points_and_time_with_the_pairs() -> None:
    told = [ops.explain("softmin", *clouds(n, n, 3), eps=0.1) for n in (10_000, 100_000)]
    assert told[1].memory <= 11 * told[0].memory <= 11 * 40e6
    assert 5 < told[1].seconds / told[0].seconds < 500


def test_errors_are_those_of_the_op() -> None:
    x, y, h = clouds(30, 20, 3)
    with pytest.raises(howfar.ShapeError, match="h: expected shape"):
        ops.explain("softmin", x, y, h[:3], eps=0.1)
    with pytest.raises(howfar.BackendUnavailable, match="'triton'"):
        ops.explain("softmin", x, y, h, eps=0.1, backend="triton")
    assert torch.isfinite(ops.softmin(x, y, h, eps=0.1)).all(), "ops are in earnest after an error"


def test_other_threads_go_on_in_earnest() -> None:
    x, y, h = clouds(300, 200, 3)
    want = ops.softmin(x, y, h, eps=0.1)
    found = []
    with rehearsed() as seen:
        other = threading.Thread(target=lambda: found.append(ops.softmin(x, y, h, eps=0.1)))
        other.start()
        other.join()
    assert torch.equal(found[0], want)
    assert not seen.calls
