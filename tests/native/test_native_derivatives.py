"""First derivatives by native sums over pairs, for every cost and every reduction of the soft minimum, and their memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from howfar import _native, costs, kernels, ops
from howfar.ops.kernel_summation import cpu as kernel_summation
from howfar.ops.soft_minimum import cpu as soft_minimum
from howfar.ops.soft_minimum import softmin_cost

COSTS: dict[str, costs.Cost] = {
    "sqeuclidean": costs.SqEuclidean(),
    "euclidean": costs.Euclidean(),
    "cityblock": costs.CityBlock(),
    "minkowski 1.5": costs.Minkowski(1.5),
    "minkowski 4": costs.Minkowski(4),
    "cosine": costs.Cosine(),
    "cosine ** 2": costs.Power(costs.Cosine(), 2),
    "euclidean ** 1.3": costs.Power(costs.Euclidean(), 1.3),
    "euclidean ** 3": costs.Power(costs.Euclidean(), 3),
    "cityblock ** 1.5": costs.Power(costs.CityBlock(), 1.5),
    "minkowski 3 ** 2": costs.Power(costs.Minkowski(3), 2),
}
OPS: dict[str, Callable[..., Tensor]] = {
    "value": lambda x, y, h, v, **k: ops.softmin(x, y, h, **k).unsqueeze(-1) + 0 * v.sum(),
    "averages": lambda x, y, h, v, **k: torch.cat([p.reshape(*x.shape[:-1], -1) for p in ops.softmin_apply(x, y, h, v, **k)], -1),
    "cost": lambda x, y, h, v, **k: softmin_cost(x, y, h, **k).unsqueeze(-1) + 0 * v.sum(),
}  # fmt: skip


@pytest.fixture(params=_native.instruction_sets() if _native.why_unavailable() is None else ())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after the other; the one of before again at the end."""
    name = str(request.param)
    bits = {name: bit for bit, name in _native._ISA_NAMES.items()}
    before = _native.instruction_set()
    assert _native.library().howfar_use(bits[name]) == bits[name]
    yield name
    _native.library().howfar_use(bits[str(before)])


def inputs(d: int, shift: float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two problems, with points taken out, and pairs that coincide or lie at the origin."""
    generator = torch.Generator().manual_seed(d)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    x, y, h, v = draw(2, 37, d) / d**0.5, draw(2, 70, d) / d**0.5, draw(2, 70), draw(2, 70, 9) + 3
    x[0, 0], y[1, 1], y[0, 5], h[0, 2] = 0, 0, x[0, 3], -torch.inf
    return x + shift, y + shift, h, v


def gradients(op: Callable[..., Tensor], leaves: list[Tensor], cost: costs.Cost, backend: str) -> tuple[Tensor, ...]:
    leaves = [t.clone().requires_grad_() for t in leaves]
    out = op(*leaves, eps=torch.tensor([0.4, 1.0], dtype=leaves[0].dtype), cost=cost, backend=backend)
    direction = torch.linspace(-1, 2, out.numel(), dtype=torch.float64).reshape(out.shape).to(out.dtype)
    return out.detach(), *torch.autograd.grad((out * direction).sum(), leaves)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", COSTS)
def test_against_the_graph_in_float64(name: str, op: str, isa: str) -> None:
    assert isa
    for d, dtype, rel in [(1, torch.float64, 1e-10), (3, torch.float64, 1e-10), (20, torch.float32, 5e-6)]:
        given = [t.to(dtype) for t in inputs(d)]
        got = gradients(OPS[op], given, COSTS[name], "cpu")
        wanted = gradients(OPS[op], [t.double() for t in given], COSTS[name], "reference")
        for one, exact in zip(got, wanted, strict=True):
            assert one.dtype == dtype
            assert bool(torch.isfinite(one).all())
            assert (one.double() - exact).abs().max() <= rel * exact.abs().max().clamp_min(1e-30)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", ["sqeuclidean", "euclidean", "cityblock", "minkowski 4"])
def test_an_offset_of_the_data_takes_no_digits(name: str, op: str) -> None:
    given = [t.float() for t in inputs(3, shift=1e4)]
    got = gradients(OPS[op], given, COSTS[name], "cpu")
    wanted = gradients(OPS[op], [t.double() for t in given], COSTS[name], "reference")
    for one, exact in zip(got, wanted, strict=True):
        assert (one.double() - exact).abs().max() <= 1e-5 * exact.abs().max().clamp_min(1e-30)


@pytest.mark.parametrize("name", ["cityblock", "minkowski 1.5", "cosine", "euclidean ** 3"])
@pytest.mark.parametrize("op", OPS)
def test_second_derivatives_follow(name: str, op: str) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = (4, 2), (5, 2), (5,), (5, 2)
    leaves = [torch.randn(*s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]
    run = lambda *t: OPS[op](*t, eps=0.7, cost=COSTS[name], backend="cpu")
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


def test_no_graph_is_kept_for_a_first_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the compiled sums alone: nothing falls back to the reference."""
    calls: list[str] = []
    for name in ("gradient", "gradient_apply", "gradient_cost"):
        kept = getattr(soft_minimum, name)
        monkeypatch.setattr(soft_minimum, name, lambda *a, kept=kept, name=name: calls.append(name) or kept(*a))
    given = [t[0] for t in inputs(3)]
    for op in OPS.values():
        leaves = [t.clone().requires_grad_() for t in given]
        out = op(*leaves, eps=0.5, cost=costs.CityBlock(), backend="cpu")
        torch.autograd.grad(out.sum(), leaves)
    assert calls == ["gradient", "gradient_apply", "gradient_cost"]


SUMMANDS: dict[str, kernels.Kernel | kernels.Stack | costs.Cost] = {
    "gaussian": kernels.Gaussian(torch.tensor([0.8, 1.5], dtype=torch.float64)),
    "laplacian": kernels.Laplacian(0.9),
    "cityblock laplacian": kernels.Laplacian(torch.tensor([0.8, 1.5], dtype=torch.float64), "cityblock"),
    "imq": kernels.IMQ(1.3),
    "energy 1.3": kernels.Energy(1.3),
    "linear": kernels.Linear(),
    "polynomial 1": kernels.Polynomial(1, 0.5, 0.3),
    "polynomial 3": kernels.Polynomial(3, 0.5, 1.0),
    "sum": kernels.Gaussian(0.8) + kernels.Gaussian(2.0) + kernels.Linear() + kernels.Laplacian(2.0, "cityblock"),
    "stack": kernels.Stack([kernels.Gaussian(0.8), kernels.Laplacian(2.0, "cityblock"), kernels.Linear()]),
    **COSTS,
}


@pytest.mark.parametrize("name", SUMMANDS)
@pytest.mark.parametrize("columns", [1, 2, 30])
def test_kernel_sums_against_the_graph_in_float64(name: str, columns: int, isa: str) -> None:
    assert isa
    summand = SUMMANDS[name]
    for d, dtype, rel in [
        (3, torch.float64, 1e-10),
        (20, torch.float32, 5e-6),
    ]:
        x, y, h, _ = inputs(d)
        w = torch.stack([((k + 1) * h.nan_to_num(neginf=0.0)).cos() for k in range(columns)], -1)
        given = [t.to(dtype) for t in (x, y, w)]
        found = []
        for leaves, backend in ((given, "cpu"), ([t.double() for t in given], "reference")):
            leaves = [t.clone().requires_grad_() for t in leaves]
            out = ops.kernel_sum(*leaves, kernel=summand, backend=backend)
            direction = torch.linspace(-1, 2, out.numel(), dtype=torch.float64).reshape(out.shape).to(out.dtype)
            found.append(torch.autograd.grad((out * direction).sum(), leaves))
        for one, exact in zip(*found, strict=True):
            assert one.dtype == dtype
            assert (one.double() - exact).abs().max() <= rel * exact.abs().max()


@pytest.mark.parametrize("name", SUMMANDS)
def test_kernel_sums_have_compiled_derivatives(name: str) -> None:
    """Of few columns all of them; of many, sums of slopes for each column would take longer than the reference does."""
    x, y, h, _ = inputs(3)
    for columns, expected in ((1, True), (100, name not in ("imq", "polynomial 3"))):
        w = h.nan_to_num(neginf=0.0).unsqueeze(-1).expand(*h.shape, columns)
        out, _ = kernel_summation.forward(False, x, y, w, SUMMANDS[name])
        found = kernel_summation.gradient((True, True, True), out, (x, y, w), SUMMANDS[name])
        assert (found is not None) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "d"), [(1, 3), (5, 3), (2, 40)])
def test_few_rows_over_many_columns(n: int, d: int, dtype: torch.dtype, isa: str) -> None:
    """Columns are reduced in parts, for any number of threads in the same ones."""
    if d > 3 and isa != _native.instruction_sets()[-1]:
        pytest.skip("one instruction set is enough for the folded form of many features")
    generator = torch.Generator().manual_seed(n)
    m = 140_003
    x, y = (torch.randn(k, d, generator=generator, dtype=torch.float64).to(dtype) for k in (n, m))
    h = 0.1 * torch.randn(m, generator=generator, dtype=torch.float64).to(dtype)
    # A part without any point, and the nearest point in the last one.
    h[60_000:139_000] = -torch.inf
    y[-1] = x[0]
    value, averages = ops.softmin_apply(*(t.double() for t in (x, y, h, y)), eps=0.5, backend="reference")
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            got = (*ops.softmin_apply(x, y, h, y, eps=0.5, backend="cpu"), soft_minimum.softmin(
                x, y, h, torch.tensor(0.5), costs.Euclidean()))  # fmt: skip
            leaf = x.clone().requires_grad_()
            (grad,) = torch.autograd.grad(ops.softmin(leaf, y, h, eps=0.5, cost="euclidean", backend="cpu").sum(), leaf)
            found.append((*got, grad))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    rel = 20 * torch.finfo(dtype).eps
    assert (found[0][0].double() - value).abs().max() <= rel * value.abs().max()
    assert (found[0][1].double() - averages).abs().max() <= 8 * rel * averages.abs().max()
