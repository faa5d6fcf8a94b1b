"""What an op promises beside its number: blocks, broadcasting, ties, untouched inputs, backends that never fall back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from op_cases import COSTS, KERNELS, clouds, potential
from torch import Tensor

import howfar
from howfar import _native, costs, kernels, ops
from howfar.ops import streaming

EPS = 0.5
Op = Callable[..., Any]


def _with_values(x: Tensor, y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    value, average = ops.softmin_apply(x, y, h, y, eps=EPS)
    return value.unsqueeze(-1), average


OPS: dict[str, Op] = {
    "softmin": lambda x, y, h: ops.softmin(x, y, h, eps=EPS),
    "softmin_apply": lambda x, y, h: torch.cat(_with_values(x, y, h), -1),
    "softmin_cost": lambda x, y, h: ops.soft_minimum.softmin_cost(x, y, h, eps=EPS),
    "kernel_sum": lambda x, y, h: ops.kernel_sum(x, y, h, kernel="gaussian"),
    "nearest": lambda x, y, h: ops.nearest(x, y, h, k=3)[0],
}
EACH_OP = pytest.mark.parametrize("op", OPS.values(), ids=OPS)


def test_small_blocks_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture of the other tests does what it says: the cost sees a few rows at a time."""
    seen: list[int] = []

    class Spy(costs.SqEuclidean):
        def matrix(self, x: Tensor, y: Tensor) -> Tensor:
            seen.append(x.shape[-2])
            return super().matrix(x, y)

    x, y = clouds(7, 5, 3)
    h = potential(5).requires_grad_()
    reductions = (
        lambda: ops.softmin(x, y, h, eps=EPS, cost=Spy()).sum().backward(),
        lambda: ops.kernel_sum(x, y, h, kernel=Spy()).sum().backward(),
        lambda: ops.nearest(x, y, h.detach(), cost=Spy()),
    )
    for reduce in reductions:
        seen.clear()
        reduce()
        assert max(seen) == 7
        monkeypatch.setattr(streaming, "BLOCK_ELEMENTS", 8 * 4 * 5)
        seen.clear()
        reduce()
        assert max(seen) == 4
        assert sum(seen) >= 7
        monkeypatch.undo()


BATCHES: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = [
    ((2,), (2,), (2,)),
    ((2,), (), ()),
    ((), (2,), ()),
    ((), (), (2,)),
    ((3, 1), (1, 2), (2,)),
    ((1,), (2,), (3, 1)),
]


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(("x_batch", "y_batch", "h_batch"), BATCHES)
@EACH_OP
def test_a_batch_is_a_loop(
    op: Op, x_batch: tuple[int, ...], y_batch: tuple[int, ...], h_batch: tuple[int, ...]
) -> None:
    x = torch.randn(*x_batch, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.randn(*y_batch, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    h = torch.randn(*h_batch, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    batch = torch.broadcast_shapes(x_batch, y_batch, h_batch)
    if op is OPS["kernel_sum"]:
        # More axes of w than the points have would be columns.
        x = x.expand(*batch, 6, 2)
    together = op(x, y, h)
    assert together.shape[: len(batch)] == batch
    wide = x.expand(*batch, 6, 2), y.expand(*batch, 5, 2), h.expand(*batch, 5)
    for index in itertools.product(*map(range, batch)):
        torch.testing.assert_close(together[index], op(*(t[index] for t in wide)), rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", COSTS)
def test_a_batch_is_a_loop_for_every_cost(name: str) -> None:
    cost, _ = COSTS[name]
    x, y = clouds(12, 5, 2)
    x, h, eps = x.reshape(2, 6, 2), potential(10).reshape(2, 5), torch.tensor([0.2, 3.0])
    values, indices = ops.nearest(x, y, h, k=2, cost=cost)
    for k in range(2):
        options = {"eps": eps[k].item(), "cost": cost}
        torch.testing.assert_close(ops.softmin(x, y, h, eps=eps, cost=cost)[k], ops.softmin(x[k], y, h[k], **options))
        alone = ops.nearest(x[k], y, h[k], k=2, cost=cost)
        torch.testing.assert_close(values[k], alone[0])
        assert indices[k].equal(alone[1])


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("name", KERNELS)
def test_a_batch_is_a_loop_for_every_kernel(name: str) -> None:
    kernel, _ = KERNELS[name]
    x, y = clouds(12, 5, 2)
    x, w = x.reshape(2, 6, 2), potential(30).reshape(2, 5, 3)
    together = ops.kernel_sum(x, y, w, kernel=kernel)
    assert together.shape == (2, 6, 3)
    for k in range(2):
        torch.testing.assert_close(together[k], ops.kernel_sum(x[k], y, w[k], kernel=kernel))
        torch.testing.assert_close(together[k, :, 0], ops.kernel_sum(x[k], y, w[k, :, 0], kernel=kernel))


@pytest.mark.usefixtures("either_way")
def test_one_bandwidth_for_each_batch_element() -> None:
    x, y = clouds(12, 5, 2, dtype=torch.float32)
    x, w = x.reshape(2, 6, 2), potential(5, dtype=torch.float32)
    for kind in (kernels.Gaussian, kernels.Laplacian, kernels.IMQ, kernels.RationalQuadratic):
        for s in (torch.tensor([0.5, 2.0]), torch.tensor([0.5, 2.0], dtype=torch.float64)):
            together = ops.kernel_sum(x, y, w, kernel=kind(s))
            assert together.dtype == torch.float32
            for k, alone in enumerate((0.5, 2.0)):
                torch.testing.assert_close(together[k], ops.kernel_sum(x[k], y, w, kernel=kind(alone)))


@pytest.mark.usefixtures("either_way")
def test_a_batch_of_values_or_of_weights_alone() -> None:
    (x, y), h = clouds(6, 5, 2), potential(5)
    v = potential(30).reshape(3, 5, 2)
    value, average = ops.softmin_apply(x, y, h, v, eps=EPS)
    assert value.shape == (3, 6)
    torch.testing.assert_close(average[1], ops.softmin_apply(x, y, h, v[1], eps=EPS)[1])
    total = ops.kernel_sum(x, y, v, kernel="gaussian")
    assert total.shape == (3, 6, 2)
    torch.testing.assert_close(total[2], ops.kernel_sum(x, y, v[2], kernel="gaussian"))


@pytest.mark.usefixtures("tiny_blocks")
@EACH_OP
def test_uninitialised_memory_is_never_read(op: Op, poisoned: list[str]) -> None:
    inputs = [t.requires_grad_() for t in (*clouds(7, 5, 2), potential(5))]
    out = op(*inputs)
    first = torch.autograd.grad(out.sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs[:2], allow_unused=True)
    assert poisoned
    for t in (out, *first, *(s for s in second if s is not None)):
        assert bool(t.isfinite().all())


def test_the_poison_works(poisoned: list[str]) -> None:
    x = torch.zeros(2)
    assert all(t.isnan().all() for t in (torch.empty(3), x.new_empty(3), torch.empty_like(x)))
    assert (torch.empty(2, dtype=torch.int64) < -1e18).all()
    assert poisoned == ["empty", "new_empty", "empty_like", "empty"]


@pytest.mark.usefixtures("either_way")
@EACH_OP
def test_strided_and_expanded_inputs_and_inputs_left_as_they_were(op: Op) -> None:
    x, y, h = (*clouds(6, 5, 2), potential(5))
    wanted = op(x, y, h)
    strided = (
        torch.stack([x, x + 1], -1)[..., 0],
        y.T.contiguous().T,
        torch.stack([h, h], -1).flatten()[::2],
    )
    assert not any(t.is_contiguous() for t in strided)
    before = [t.clone() for t in strided]
    torch.testing.assert_close(op(*strided), wanted, rtol=0, atol=0)
    assert all(t.equal(b) for t, b in zip(strided, before, strict=True))

    leaf = x.clone().requires_grad_()
    out = op(leaf.expand(3, 6, 2), y.expand(3, 5, 2), h.expand(3, 5))
    torch.testing.assert_close(out, wanted.expand_as(out))
    out.sum().backward()
    alone = x.clone().requires_grad_()
    op(alone, y, h).sum().backward()
    assert leaf.grad is not None
    assert alone.grad is not None
    torch.testing.assert_close(leaf.grad, 3 * alone.grad)


@pytest.mark.usefixtures("either_way")
@EACH_OP
def test_without_grad_mode_nothing_is_kept_and_the_number_is_the_same(op: Op) -> None:
    inputs = [t.requires_grad_() for t in (*clouds(6, 5, 2), potential(5))]
    with torch.no_grad():
        out = op(*inputs)
    assert out.grad_fn is None
    with torch.inference_mode():
        inferred = op(*inputs)
    torch.testing.assert_close(out, op(*inputs).detach(), rtol=0, atol=0)
    torch.testing.assert_close(inferred.clone(), out, rtol=0, atol=0)


@pytest.mark.usefixtures("either_way")
@EACH_OP
def test_two_runs_agree_to_the_last_bit(op: Op) -> None:
    inputs = (*clouds(30, 25, 4, dtype=torch.float32), potential(25, dtype=torch.float32))
    assert op(*inputs).equal(op(*inputs))


@pytest.mark.usefixtures("either_way")
@EACH_OP
def test_autocast_changes_nothing(op: Op) -> None:
    inputs = (*clouds(30, 25, 20, dtype=torch.float32), potential(25, dtype=torch.float32))
    wanted = op(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = op(*inputs)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)


def test_lists_arrays_and_numbers_on_the_line_are_points() -> None:
    assert ops.softmin([0.0, 1.0], [1, 3], [0, 0], eps=0.01).tolist() == pytest.approx([1, 0], abs=1e-6)
    x = torch.tensor([0.0, 1.0])
    assert ops.nearest(x.numpy(), x.unsqueeze(-1))[1].flatten().tolist() == [0, 1]
    assert ops.kernel_sum(x, x, [1.0, 1.0], kernel="energy").tolist() == [-1, -1]


# Nearest neighbours: ties and removed points.


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("k", [1, 2, 3, 5, 7, 8])
def test_ties_go_to_the_smaller_index(k: int) -> None:
    """Eight points in three places, so that ties lie before, at and beyond the k-th."""
    y = torch.tensor([2.0, 0.0, 1.0, 0.0, 2.0, 1.0, 0.0, 1.0])
    x = torch.tensor([0.0, 1.0, 2.0, 0.4, 0.5])
    reduced = (x[:, None] - y).square()
    order = torch.sort(reduced, dim=1, stable=True).indices
    values, indices = ops.nearest(x, y, k=k)
    assert indices.equal(order[:, :k])
    torch.testing.assert_close(values, reduced.gather(1, order[:, :k]), rtol=1e-7, atol=0)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("k", [1, 3, 50])
@pytest.mark.parametrize("seed", range(5))
def test_many_ties(k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (50, 2), generator=generator).double()
    x = torch.randint(0, 2, (2, 9, 2), generator=generator).double()
    h = torch.randint(0, 2, (50,), generator=generator).double()
    order = torch.sort(costs.CityBlock().matrix(x, y.expand(2, 50, 2)) - h, dim=-1, stable=True).indices
    assert ops.nearest(x, y, h, k=k, cost="cityblock")[1].equal(order[..., :k])


@pytest.mark.usefixtures("either_way")
def test_a_removed_point_comes_last_with_an_infinite_value() -> None:
    h = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0])
    values, indices = ops.nearest(torch.zeros(5, 1), torch.arange(4.0), h, k=4)
    assert indices.tolist() == [[1, 3, 0, 2]] * 5
    assert values.tolist() == [[1.0, 9.0, torch.inf, torch.inf]] * 5
    assert ops.nearest(torch.zeros(5, 1), torch.arange(4.0), h)[0].isfinite().all()


# Backends.


def test_auto_takes_the_compiled_kernels_where_they_are() -> None:
    x, y, h = (*clouds(6, 5, 2), potential(5))
    taken = "reference" if _native.why_no_kernels() else "cpu"
    assert ops.softmin(x, y, h, eps=EPS, backend=taken).equal(ops.softmin(x, y, h, eps=EPS))
    assert ops.nearest(x, y, backend=taken)[1].equal(ops.nearest(x, y)[1])
    kernel_sum = ops.kernel_sum(x, y, h, kernel="imq", backend=taken)
    assert kernel_sum.equal(ops.kernel_sum(x, y, h, kernel="imq"))


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        ("triton", "'triton': it runs on cuda tensors and these are on cpu. "),
        ("cpu", "'cpu': The compiled library is not there"),
    ],
)
def test_a_backend_that_cannot_run_says_why_and_never_falls_back(
    backend: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("fell back")

    monkeypatch.setattr(_native, "why_no_kernels", lambda: "The compiled library is not there.")
    for room in ("soft_minimum", "kernel_summation", "nearest_neighbors"):
        for function in ("softmin", "softmin_apply", "kernel_sum", "nearest"):
            monkeypatch.setattr(f"howfar.ops.{room}.reference.{function}", never, raising=False)
    (x, y), h = clouds(6, 5, 2), potential(5)
    calls: dict[str, Callable[[], object]] = {
        "softmin": lambda: ops.softmin(x, y, h, eps=EPS, backend=backend),
        "kernel_sum": lambda: ops.kernel_sum(x, y, h, kernel="gaussian", backend=backend),
        "nearest": lambda: ops.nearest(x, y, backend=backend),
    }
    for name, call in calls.items():
        with pytest.raises(howfar.BackendUnavailable) as caught:
            call()
        assert reason.format(op=name) in str(caught.value)
        assert "Use backend='auto' or backend='reference'" in str(caught.value)
