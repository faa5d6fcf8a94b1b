"""Explicit cost matrices on the compiled kernels against plain torch in float64: both sides, derivatives, ties, threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from howfar import _native
from howfar.geometry import DenseCost, Side
from howfar.ops import matrix

SIZES = [(1, 1), (5, 3), (37, 70), (3, 3000), (300, 129)]
LONG = [(1, 140_000), (140_000, 2)]


def softmin(C: Tensor, h: Tensor, v: Tensor, eps: Tensor, side: Side) -> Tensor:
    return DenseCost(C).softmin(h, eps, side).unsqueeze(-1) + 0 * v.sum()


def averages(C: Tensor, h: Tensor, v: Tensor, eps: Tensor, side: Side) -> Tensor:
    value, found = DenseCost(C).softmin_apply(h, v, eps, side)
    return torch.cat([value.unsqueeze(-1), found], -1)


def cost(C: Tensor, h: Tensor, v: Tensor, eps: Tensor, side: Side) -> Tensor:
    return DenseCost(C).softmin_cost(h, eps, side).unsqueeze(-1) + 0 * v.sum()


OPS: dict[str, Callable[..., Tensor]] = {"softmin": softmin, "averages": averages, "cost": cost}


@pytest.fixture(params=_native.instruction_sets() if _native.why_unavailable() is None else ())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """One instruction set after the other; the one of before again at the end."""
    name = str(request.param)
    bits = {name: bit for bit, name in _native._ISA_NAMES.items()}
    before = _native.instruction_set()
    assert _native.library().howfar_use(bits[name]) == bits[name]
    yield name
    _native.library().howfar_use(bits[str(before)])


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], object]:
    """Runs something on plain torch."""

    def run(body: Callable[[], object]) -> object:
        with monkeypatch.context() as patched:
            patched.setattr(matrix, "why_unavailable", lambda *_, **__: "not asked for")
            return body()

    return run


def made(n: int, m: int, side: Side, batch: tuple[int, ...] = ()) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n + 3 * m)
    draw = lambda *shape: torch.randn(*batch, *shape, generator=generator, dtype=torch.float64)
    other = m if side == "x" else n
    h = draw(other)
    if other > 2:
        h[..., 1] = -torch.inf
    eps = torch.rand(batch, generator=generator, dtype=torch.float64) + 0.2
    return draw(n, m).abs(), h, draw(other, 4) + 3, eps


def derived(op: Callable[..., Tensor], leaves: list[Tensor], eps: Tensor, side: Side) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in leaves]
    out = op(*leaves, eps, side)
    direction = torch.linspace(-1, 2, out.numel(), dtype=torch.float64).reshape(out.shape).to(out.dtype)
    return [out.detach(), *torch.autograd.grad((out * direction).sum(), leaves)]


@pytest.mark.parametrize("side", ["x", "y"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("op", OPS)
def test_values_and_derivatives(
    op: str, dtype: torch.dtype, side: Side, isa: str, plain: Callable[..., list[Tensor]]
) -> None:
    assert isa
    for n, m in SIZES + (LONG if op == "averages" and isa == _native.instruction_sets()[-1] else []):
        for batch in ((), (2,)):
            C, h, v, eps = made(n, m, side, batch)
            given = [t.to(dtype) for t in (C, h, v)]
            got = derived(OPS[op], given, eps.to(dtype), side)
            exact = [t.double() for t in given]
            wanted = plain(lambda exact=exact, eps=eps: derived(OPS[op], exact, eps, side))
            for one, other in zip(got, wanted, strict=True):
                assert one.shape == other.shape
                # A sum over own points that cancels is as exact as its terms.
                size = other.abs().max() + (n if side == "x" else m) * (op == "cost")
                assert (one.double() - other).abs().max() <= 100 * torch.finfo(dtype).eps * size.clamp_min(1e-30)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("side", ["x", "y"])
def test_gradcheck(op: str, side: Side) -> None:
    C, h, v, eps = made(4, 5, side)
    leaves = [C.requires_grad_(), h.nan_to_num(neginf=-1.0).requires_grad_(), v.requires_grad_()]
    run = lambda *t: OPS[op](*t, eps, side)
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


def test_a_partial_derivative_where_one_input_depends_on_another() -> None:
    C = made(4, 5, "x")[0].requires_grad_()
    run = lambda C: DenseCost(C).softmin(C.sum(0), torch.tensor(0.5, dtype=torch.float64), "x")
    assert torch.autograd.gradcheck(run, [C])
    assert torch.autograd.gradgradcheck(run, [C])


@pytest.mark.parametrize("side", ["x", "y"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nearest_with_ties(
    dtype: torch.dtype, side: Side, isa: str, plain: Callable[..., tuple[Tensor, Tensor]]
) -> None:
    assert isa
    for n, m in SIZES:
        for batch in ((), (2,)):
            C, h, _, _ = made(n, m, side, batch)
            C, h = (3 * C).round().to(dtype), (2 * h).round().to(dtype)
            other = h.shape[-1]
            for k in {1, min(other, 5), min(other, 128)}:
                got = DenseCost(C).nearest(h, k, side)
                wanted = plain(lambda C=C, h=h, k=k: DenseCost(C).nearest(h, k, side))
                assert torch.equal(got[0], wanted[0])
                assert torch.equal(got[1], wanted[1])


def test_a_transposed_matrix_is_read_as_it_lies() -> None:
    C, h, v, eps = made(40, 30, "x")
    lying = C.T.contiguous().T
    assert not lying.is_contiguous()
    for op in OPS.values():
        torch.testing.assert_close(op(lying, h, v, eps, "x"), op(C, h, v, eps, "x"), rtol=1e-13, atol=1e-13)
    spaced = torch.stack([C, C], -1)[..., 0]
    assert torch.equal(softmin(spaced, h, v, eps, "x"), softmin(C, h, v, eps, "x"))


@pytest.mark.parametrize("side", ["x", "y"])
def test_any_number_of_threads_and_pieces(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    before = torch.get_num_threads()
    cases = [[t.float() for t in made(n, m, side)] for n, m in [(700, 900), *LONG]]
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append([averages(*case, side) for case in cases])
        monkeypatch.setattr("howfar.ops.compiled._SECONDS", 1e-9)
        found.append([averages(*case, side) for case in cases])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize("side", ["x", "y"])
@pytest.mark.parametrize("eps", [1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_float32_is_as_near_to_float64_as_plain_torch(
    side: Side, eps: float, scale: float, plain: Callable[..., Tensor]
) -> None:
    C, h, v, _ = made(200, 300, side)
    C, h, v = ((scale * t).float() for t in (C, h, v))
    eps = eps * scale
    single, double = torch.tensor(eps), torch.tensor(eps, dtype=torch.float64)
    exact = plain(lambda: softmin(C.double(), h.double(), v.double(), double, side))
    dense = plain(lambda: softmin(C, h, v, single, side))
    got = softmin(C, h, v, single, side)
    assert bool(torch.isfinite(got).all())
    error, allowed = ((t.double() - exact).abs().max() for t in (got, dense))
    assert error <= 4 * allowed + torch.finfo(torch.float32).eps * exact.abs().max()
