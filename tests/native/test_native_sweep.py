"""A sweep is an update of f and the soft minimum over it, as two reductions of float64 have them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import howfar
from howfar import _native, costs
from howfar.geometry import PointCloud
from howfar.geometry.spatial_order import spatial_order
from howfar.ops import sweep
from howfar.ops.sweep import Turn
from howfar.optimal_transport import LinearProblem, Sinkhorn
from howfar.optimal_transport.marginals import HARD, Marginal

EPS = 0.05
COSTS: list[costs.Cost] = [
    costs.SqEuclidean(), costs.Euclidean(), costs.CityBlock(), costs.Minkowski(3), costs.Cosine(),
    costs.Power(costs.Euclidean(), 1.5),
]  # fmt: skip


def drawn(n: int, m: int, d: int, dtype: torch.dtype, batch: tuple[int, ...] = (), empty: bool = True) -> Any:
    """x, y, a, b, with points without mass."""
    generator = torch.Generator().manual_seed(n + m + d)
    draw = lambda *shape: torch.rand(*batch, *shape, generator=generator, dtype=torch.float64)
    x, y, a, b = draw(n, d), 0.8 * draw(m, d) + 0.1, draw(n), draw(m)
    if empty and min(n, m) > 2:
        a[..., 1] = b[..., 2] = 0
    a, b = (w / w.sum(-1, keepdim=True) for w in (a, b))
    return tuple(t.to(dtype) for t in (x, y, a, b))


def in_turn(x: Tensor, y: Tensor, cost: costs.Cost, turn: Turn) -> tuple[Tensor, Tensor]:
    """What a sweep promises, in float64 and plain torch."""
    x, y, g, a, b, eps, damping = (t.double() for t in (x, y, turn.g, turn.a, turn.b, turn.eps, turn.damping))
    eps, damping = eps.unsqueeze(-1), damping.unsqueeze(-1)
    matrix = cost.matrix(x, y)
    f = -eps * torch.logsumexp((g + eps * b.log()).unsqueeze(-2) / eps.unsqueeze(-1) - matrix / eps.unsqueeze(-1), -1)
    f = (damping * f).clamp(-turn.bound, turn.bound)
    over = (f + eps * a.log()).unsqueeze(-1) / eps.unsqueeze(-1) - matrix / eps.unsqueeze(-1)
    return f, -eps * torch.logsumexp(over, -2)


def started(x: Tensor, y: Tensor, a: Tensor, b: Tensor, cost: costs.Cost, eps: float = EPS, count: int = 2) -> Turn:
    """After some iterations from zero, in potentials of the dtype of x."""
    strength = torch.full(a.shape[:-1], eps, dtype=a.dtype)
    turn = Turn(torch.zeros_like(a), torch.zeros_like(b), a, b, strength, torch.ones_like(strength))
    for _ in range(count):
        f = howfar.ops.softmin(x, y, turn.g + strength.unsqueeze(-1) * b.log(), eps=strength, cost=cost)
        g = howfar.ops.softmin(y, x, f + strength.unsqueeze(-1) * a.log(), eps=strength, cost=cost)
        turn = replace(turn, f=f, g=g)
    return turn


def check(x: Tensor, y: Tensor, cost: costs.Cost, turn: Turn, *, in_order: bool = False) -> None:
    swept = sweep.between_points(x, y, cost, "auto", turn, in_order=in_order)
    assert swept is not None
    # Rounding of potentials and costs, as a soft minimum in this dtype has it.
    size = cost.matrix(x.double(), y.double()).abs().max().item()
    atol = 64 * torch.finfo(x.dtype).eps * (size + EPS)
    for found, wanted, mass in zip(swept, in_turn(x, y, cost, turn), (turn.a, turn.b), strict=True):
        assert found.dtype == x.dtype
        assert_close(found.double()[mass > 0], wanted[mass > 0], atol=atol, rtol=0)
        assert bool((found[mass == 0] == 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: type(cost).__name__)
@pytest.mark.usefixtures("isa")
def test_every_cost_on_every_instruction_set(cost: costs.Cost, dtype: torch.dtype) -> None:
    for n, m, d in ((1, 1, 1), (3, 130, 2), (70, 65, 3), (201, 97, 5), (130, 200, 70)):
        x, y, a, b = drawn(n, m, d, dtype)
        check(x, y, cost, started(x, y, a, b, cost))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_and_penalties(dtype: torch.dtype) -> None:
    x, y, a, b = drawn(90, 75, 3, dtype, (2, 3))
    cost = costs.SqEuclidean()
    turn = started(x, y, a, b, cost)
    eps = EPS * torch.linspace(1, 2, 6, dtype=dtype).reshape(2, 3)
    turn = replace(turn, eps=eps)
    check(x, y, cost, turn)
    for marginal in (Marginal(0.3), Marginal(0.05, "tv")):
        turn = replace(turn, damping=marginal.damping(eps), bound=marginal.bound)
        check(x, y, cost, turn)
        # Whose bound is met from below, too.
        check(x, y, cost, replace(turn, g=turn.g + 0.5, f=turn.f - 0.1))
    # One cloud for all.
    check(x[:1, :1].expand_as(x), y[:1, :1].expand_as(y), cost, replace(turn, damping=torch.ones_like(eps)))


def test_pairs_too_far_to_count_are_passed_over_without_a_trace() -> None:
    # On a line boxes are tight, and hide nothing that is left out too soon.
    for d, cost, dtype in (
        (1, costs.SqEuclidean(), torch.float32),
        (3, costs.SqEuclidean(), torch.float32),
        (2, costs.Euclidean(), torch.float64),
    ):
        x, y, a, b = drawn(2100, 2050, d, dtype)
        x_order, y_order = spatial_order(x), spatial_order(y)
        x, y, a, b = x_order.points(x), y_order.points(y), x_order.numbers(a), y_order.numbers(b)
        eps = 0.002
        turn = started(x, y, a, b, cost, eps, count=8)
        check(x, y, cost, turn, in_order=True)
        whole, kept = (sweep.between_points(x, y, cost, "auto", turn, in_order=way) for way in (False, True))
        assert whole is not None
        assert kept is not None
        for found, wanted in zip(kept, whole, strict=True):
            assert_close(found, wanted, atol=4 * torch.finfo(dtype).eps * wanted.abs().max().item(), rtol=0)
        # A column that holds little of what it is promised might lose it, so there all pairs have to be seen.
        turn.g[..., 7] -= 10 * eps
        assert sweep.between_points(x, y, cost, "auto", turn, in_order=True) is None
        check(x, y, cost, turn)


def test_potentials_that_are_not_near_are_refused() -> None:
    x, y, a, b = drawn(40, 30, 3, torch.float32)
    cost = costs.SqEuclidean()
    turn = started(x, y, a, b, cost)
    far = torch.zeros_like(turn.f)
    far[5] = 200 * EPS
    for sign in (1, -1):
        assert sweep.between_points(x, y, cost, "auto", replace(turn, f=turn.f + sign * far), in_order=False) is None
    off = turn.g.clone()
    off[7] += 200 * EPS
    assert sweep.between_points(x, y, cost, "auto", replace(turn, g=off), in_order=False) is None
    # No number is no point without mass.
    f, g = turn.f.clone(), turn.g.clone()
    f[5] = g[7] = math.nan
    for broken in (replace(turn, f=f), replace(turn, g=g)):
        assert sweep.between_points(x, y, cost, "auto", broken, in_order=False) is None


@pytest.mark.parametrize(("n", "m", "dtype"), [(700, 333, torch.float32), (2500, 3000, torch.float64)])
def test_bits_depend_neither_on_threads_nor_on_pieces(
    n: int, m: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, a, b = drawn(n, m, 3, dtype)
    cost = costs.SqEuclidean()
    turn = started(x, y, a, b, cost)
    sweeps = []
    taken: list[int] = []
    run = _native.call

    def spied(kernel: str, single: bool, call: _native.Sweep) -> None:
        taken.append(call.part_end - call.part_begin)
        run(kernel, single, call)

    monkeypatch.setattr(_native, "call", spied)
    for threads, seconds in ((1, 0.2), (2, 0.2), (3, 1e-9)):
        monkeypatch.setattr(_native, "threads", lambda threads=threads: threads)
        monkeypatch.setattr(sweep, "_SECONDS", seconds)
        sweeps.append(sweep.between_points(x, y, cost, "auto", turn, in_order=False))
    for other in sweeps[1:]:
        assert all(torch.equal(p, q) for p, q in zip(sweeps[0], other, strict=True))
    # However long a part is, a call that would take too long has few of its rows.
    assert taken[-1] == 64


@pytest.mark.parametrize("soft", [(HARD, HARD), (Marginal(0.5), HARD), (Marginal(0.3, "tv"),) * 2])
def test_a_solver_that_sweeps_agrees_with_one_that_does_not(soft: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, a, b = drawn(900, 700, 3, torch.float64)
    problem = LinearProblem(PointCloud(x, y), a, b, torch.tensor(EPS, dtype=torch.float64), soft)
    sweeps = []
    swept = PointCloud.sweep
    monkeypatch.setattr(PointCloud, "sweep", lambda self, turn: sweeps.append(swept(self, turn)) or sweeps[-1])
    one = Sinkhorn(tol=1e-9).solve(problem)
    assert len(sweeps) > 5
    assert all(found is not None for found in sweeps)
    monkeypatch.setattr(PointCloud, "sweep", lambda self, turn: None)  # noqa: ARG005
    two = Sinkhorn(tol=1e-9).solve(problem)
    assert abs(one.n_iter - two.n_iter) <= 2
    assert_close(one.dual, two.dual, atol=1e-12, rtol=0)


def test_other_backends_take_two_passes() -> None:
    x, y, a, b = drawn(20, 20, 2, torch.float64)
    turn = started(x, y, a, b, costs.SqEuclidean())
    assert sweep.between_points(x, y, costs.SqEuclidean(), "reference", turn, in_order=False) is None
    assert sweep.between_points(x, y, costs.resolve(lambda p, q: p @ q.mT), "auto", turn, in_order=False) is None
    assert math.isclose(howfar.transport(x, y, eps=EPS).marginal_error.item(), 0, abs_tol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.usefixtures("isa")
def test_a_weight_beyond_the_largest_number_is_refused_though_all_sums_look_sound(dtype: torch.dtype) -> None:
    """A pair whose two masses are so small that both sums would hold its weight: not every set makes an infinity of it."""
    top = {torch.float32: 127, torch.float64: 1023}[dtype]
    bit = EPS * math.log(2)
    # In bits: the first point of x is far from where the mass of y lies, and on the other point of y.
    far = math.sqrt((top + 8) * bit)
    x, y = (torch.tensor(t, dtype=dtype).unsqueeze(-1) for t in ([far, 0.0, 0.65 * far], [0.0, far]))
    a, b = (torch.tensor(t, dtype=dtype) for t in ([2.0**-top, 0.5, 0.5], [1.0, 2.0 ** -(top + 4)]))
    g = torch.tensor([0.0, -5 * bit], dtype=dtype)
    one, cost = torch.ones((), dtype=dtype), costs.SqEuclidean()
    turn = Turn(torch.zeros(3, dtype=dtype), g, a, b, EPS * one, one)
    turn = replace(turn, f=in_turn(x, y, cost, turn)[0].to(dtype))
    assert sweep.between_points(x, y, cost, "auto", turn, in_order=False) is None
