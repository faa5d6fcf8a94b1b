"""The ops as torch sees them: registered operators, compiled graphs, `torch.func`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from op_cases import COSTS, KERNELS, clouds, crooked
from torch import Tensor
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

import howfar
from howfar import DerivativeUnavailable, DomainError, _native, costs, kernels, ops
from howfar.ops import spelling, streaming

EPS = 0.7
HOUSE = torch.ops.howfar
SQUARED = "SqEuclidean()"
NATIVE = pytest.mark.skipif(_native.why_no_kernels() is not None, reason="no compiled kernels here")


def leaf(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_()


def inputs(*, batch: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """x, y, h, v, weights and temperatures of one batch shape."""
    generator = torch.Generator().manual_seed(5)
    shapes = (4, 2), (3, 2), (3,), (3, 2), (3, 2)
    x, y, h, v, w = (torch.randn(*batch, *s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes)
    return x, y, h, v, w, torch.full(batch, EPS, dtype=dtype)


def samples(name: str, batch: tuple[int, ...]) -> tuple[Any, ...]:
    """Arguments of every registered operator; what it differentiates requires a gradient."""
    x, y, h, v, w, eps = inputs(batch=batch)
    xg, yg, hg, vg, wg = map(leaf, (x, y, h, v, w))
    value = ops.softmin(x, y, h, eps=eps)
    rows = torch.randn(*batch, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    row, two, no = leaf(rows[..., 0]), leaf(rows[..., :2]), x.new_empty(0)
    every = [True, True, True]
    s = torch.full((*batch, 1), 1.3, dtype=torch.float64)
    found = {
        "softmin": (xg, yg, hg, eps, SQUARED, "auto", True),
        "softmin_backward": (row, value, x.new_full(x.shape, torch.inf), xg, yg, hg, eps, SQUARED, "auto", every),
        "softmin_double_backward": (x, y, h, row.detach(), x, y, h, eps, SQUARED, every),
        "softmin_apply": (xg, yg, hg, vg, eps, "Power(Euclidean(), 3.0)", "auto"),
        "softmin_apply_backward": (leaf(rows), xg, yg, hg, vg, eps, "Cosine()", "auto", [*every, False]),
        "softmin_apply_double_backward": (x, y, h, no, rows, x, y, h, v, eps, SQUARED, [*every, False]),
        "softmin_cost": (xg, yg, hg, eps, "CityBlock()", "auto"),
        "softmin_cost_backward": (row, xg, yg, hg, eps, SQUARED, "auto", [True, False, True]),
        "softmin_cost_double_backward": (x, no, h, row.detach(), x, y, h, eps, SQUARED, [True, False, True]),
        "kernel_sum": (xg, yg, wg, s, "Sum((Gaussian(s[0]), IMQ(2.0),))", "auto"),
        "kernel_sum_backward": (two, xg, yg, wg, s, "Gaussian(s[0])", "auto", every),
        "kernel_sum_double_backward": (x, y, w, two.detach(), x, y, w, no, "Energy(1.0)", every),
        "nearest": (xg, yg, hg, 2, "Euclidean()", "auto"),
    }
    arguments: tuple[Any, ...] = found[name]
    return arguments


OPERATORS = [
    f"{name}{suffix}"
    for name in ("softmin", "softmin_apply", "softmin_cost", "kernel_sum")
    for suffix in ("", "_backward", "_double_backward")
] + ["nearest"]


def test_every_operator_has_samples() -> None:
    schemas = (schema.name for schema in torch._C._jit_get_all_schemas())
    registered = {name.removeprefix("howfar::") for name in schemas if name.startswith("howfar::")}
    assert registered == set(OPERATORS)


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("name", OPERATORS)
def test_opcheck(name: str, batch: tuple[int, ...]) -> None:
    arguments = samples(name, batch)
    done = torch.library.opcheck(getattr(HOUSE, name).default, arguments)
    assert set(done.values()) == {"SUCCESS"}
    assert len(done) == 4


@pytest.mark.parametrize("summand", [*COSTS, *KERNELS])
def test_costs_and_kernels_are_told_by_their_text(summand: str) -> None:
    thing = COSTS[summand][0] if summand in COSTS else KERNELS[summand][0]
    text = spelling.spell(thing, [])
    if summand == "a callable":
        assert text is None
        return
    assert text is not None
    again = spelling.read(text)
    assert type(again) is type(thing)
    assert spelling.spell(again, []) == text
    x, y = clouds(4, 3, 2)
    assert again.matrix(x, y).equal(thing.matrix(x, y))


def test_the_text_of_a_bandwidth_for_each_batch_element_calls_it_beside() -> None:
    s = torch.tensor([0.5, 2.0])
    kernel = kernels.Gaussian(s) + kernels.Laplacian(3.0) + kernels.IMQ(2 * s)
    tensors: list[Tensor] = []
    text = spelling.spell(kernel, tensors)
    assert text == "Sum((Gaussian(s[0]), Laplacian(3.0, 'euclidean'), IMQ(s[1]),))"
    x, y = inputs(batch=(2,), dtype=torch.float32)[:2]
    together = spelling.together(tensors, torch.Size((2,)), x)
    assert spelling.read(text, spelling.apart(together)).matrix(x, y).equal(kernel.matrix(x, y))


def test_a_cost_of_the_users_own_has_no_text_and_a_text_that_is_none_is_refused() -> None:
    class Own(costs.SqEuclidean):
        pass

    assert spelling.spell(Own(), []) is None
    assert spelling.spell(costs.Power(Own(), 2.0), []) is None
    assert spelling.spell(costs.Custom(crooked), []) is None
    for text in ("", "Own()", "Gaussian(s[0])", "print('x')", "3.0", "Power(Euclidean())"):
        with pytest.raises(DomainError, match="cost or kernel: expected the text of one"):
            spelling.read(text)


# torch.compile


class Step(torch.nn.Module):
    """A small generator and its loss, in the two smooth reductions."""

    def __init__(self) -> None:
        super().__init__()
        self.map = torch.nn.Linear(2, 2, dtype=torch.float64)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        moved = self.map(x)
        soft = ops.softmin(moved, y, torch.zeros_like(y[..., 0]), eps=0.5)
        witness = ops.kernel_sum(moved, y, torch.full_like(y[..., 0], 1 / len(y)), kernel=kernels.Gaussian(1.3))
        return soft.mean() - witness.mean()


def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The compiled kernels, as they are called."""
    names: list[str] = []
    call = _native.call

    def spy(kernel: str, single: bool, pairs: Any) -> None:
        names.append(kernel)
        call(kernel, single, pairs)

    monkeypatch.setattr(_native, "call", spy)
    return names


def trained(step: Step, run: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
    x, y = clouds(30, 20, 2)
    step.zero_grad()
    loss = run(x, y)
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in step.parameters() if p.grad is not None)]


@NATIVE
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_training_step_calls_the_kernels(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    step = Step()
    wanted = trained(step, step)
    compiled = torch.compile(step, fullgraph=True, backend=backend)
    trained(step, compiled)
    names = called(monkeypatch)
    got = trained(step, compiled)
    assert names.count("softmin") == 1, "that in x was kept"
    assert "gibbs" not in names, "y and h want no derivative"
    assert names.count("kernel_sum") == 2
    for g, w in zip(got, wanted, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-12, atol=1e-12)


def test_a_compiled_graph_holds_the_operators() -> None:
    torch._dynamo.reset()
    targets: list[str] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    x, y = clouds(30, 20, 2)
    torch.compile(Step(), fullgraph=True, backend=backend)(x, y)
    torch.compile(lambda x, y: ops.nearest(x, y, k=2), fullgraph=True, backend=backend)(x, y)
    assert {"howfar.softmin.default", "howfar.kernel_sum.default", "howfar.nearest.default"} <= set(targets)


@pytest.mark.parametrize("name", ["mmd2", "energy_distance"])
def test_a_compiled_distance(name: str) -> None:
    torch._dynamo.reset()
    distance = {
        "mmd2": lambda x, y: howfar.mmd2(x, y, kernel=kernels.Gaussian(1.0)),
        "energy_distance": howfar.energy_distance,
    }[name]
    x, y = clouds(12, 9, 2)
    values, grads = [], []
    for run in (distance, torch.compile(distance, fullgraph=True, backend="aot_eager")):
        moved = leaf(x)
        value = run(moved, y)
        values.append(value.detach())
        grads.append(torch.autograd.grad(value, moved)[0])
    torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


def test_another_temperature_is_no_other_answer() -> None:
    torch._dynamo.reset()
    x, y, h, *_ = inputs()
    run = torch.compile(lambda eps: ops.softmin(x, y, h, eps=eps), fullgraph=True, backend="aot_eager")
    for eps in (0.1, 0.3, 2.0):
        torch.testing.assert_close(run(eps), ops.softmin(x, y, h, eps=eps), rtol=1e-12, atol=0)


# torch.func

SMOOTH: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "softmin": lambda x, y, h: ops.softmin(x, y, h, eps=EPS),
    "softmin euclidean": lambda x, y, h: ops.softmin(x, y, h, eps=EPS, cost="euclidean"),
    "softmin_apply": lambda x, y, h: ops.softmin_apply(x, y, h, y, eps=EPS)[1],
    "softmin_cost": lambda x, y, h: ops.soft_minimum.softmin_cost(x, y, h, eps=EPS),
    "kernel_sum": lambda x, y, h: ops.kernel_sum(x, y, h, kernel="gaussian"),
    "nearest": lambda x, y, h: ops.nearest(x, y, h, k=2)[0],
    "a callable": lambda x, y, h: ops.softmin(x, y, h, eps=EPS, cost=crooked),
}
# Forward mode scripts a part of torch when first used, and torch warns of it.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
SMOOTH_OPS = pytest.mark.parametrize("op", SMOOTH.values(), ids=SMOOTH)


@SMOOTH_OPS
def test_vmap_is_a_batch(op: Callable[..., Tensor]) -> None:
    x, y, h, *_ = inputs(batch=(3,))
    loop = lambda *arguments: torch.stack([op(*each) for each in zip(*arguments, strict=True)])
    torch.testing.assert_close(vmap(op)(x, y, h), loop(x, y, h), rtol=1e-12, atol=1e-12)
    one = vmap(op, in_dims=(1, None, None))(x.movedim(0, 1), y[0], h[0])
    torch.testing.assert_close(one, loop(x, y[:1].expand(3, 3, 2), h[:1].expand(3, 3)), rtol=1e-12, atol=1e-12)
    values = vmap(grad(lambda x, y, h: op(x, y, h).square().sum()))(x, y, h)
    torch.testing.assert_close(
        values, torch.stack([grad(lambda *z: op(*z).square().sum())(*z) for z in zip(x, y, h, strict=True)])
    )


@SMOOTH_OPS
def test_jacobians_and_hessians_of_torch_func(op: Callable[..., Tensor]) -> None:
    x, y, h, *_ = inputs()
    value = lambda x: op(x, y, h)
    wanted = torch.autograd.functional.jacobian(value, x)
    torch.testing.assert_close(jacrev(value)(x), wanted)
    torch.testing.assert_close(jacfwd(value)(x), wanted)
    tangent = torch.ones_like(x)
    number, moved = jvp(value, (x,), (tangent,))
    torch.testing.assert_close(number, value(x))
    torch.testing.assert_close(moved, torch.einsum("...nd,nd->...", wanted, tangent))
    total = lambda x: op(x, y, h).square().sum()
    second = torch.autograd.functional.hessian(total, x)
    torch.testing.assert_close(hessian(total)(x), second)
    torch.testing.assert_close(jacrev(jacrev(total))(x), second)


@pytest.mark.usefixtures("tiny_blocks")
@pytest.mark.parametrize("name", ["softmin", "kernel_sum"])
def test_torch_func_in_blocks(name: str) -> None:
    op = SMOOTH[name]
    x, y, h, *_ = inputs()
    assert not streaming.Blocks(op, -1, 1).few((x, y, h))
    total = lambda x: op(x, y, h).square().sum()
    second = torch.autograd.functional.hessian(total, x)
    for found in (jacrev(grad(total)), jacfwd(grad(total)), hessian(total)):
        torch.testing.assert_close(found(x), second)


def test_derivatives_that_an_operator_does_not_have_are_refused_by_name() -> None:
    x, y, h, *_, eps = inputs()
    raw = lambda x: HOUSE.softmin(x, y, h, eps, SQUARED, "auto", False)[0]
    with pytest.raises(DerivativeUnavailable, match=r"howfar\.softmin\.default: it carries no forward derivatives"):
        jvp(raw, (x,), (x,))
    third = grad(lambda x: grad(lambda x: grad(lambda x: raw(x).sum())(x).sum())(x).sum())
    with pytest.raises(DerivativeUnavailable, match="third derivatives are not available"):
        third(x)


def test_what_vmap_holds_is_not_looked_at_and_what_grad_holds_is() -> None:
    x, y, h, *_ = inputs(batch=(2,))
    with pytest.raises(DomainError, match="x: expected finite numbers"):
        grad(lambda x: ops.softmin(x, y, h, eps=EPS).sum())(x * torch.nan)
    assert vmap(SMOOTH["softmin"])(x, y, h).shape == (2, 4)
