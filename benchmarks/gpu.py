"""Claim: the three ops on a GPU in true float32, next to flash-sinkhorn, KeOps and plain torch in blocks.

Points and weights are those of flash-sinkhorn's own benchmark: x, y ~ N(0, I), weights uniform on [0.1, 1.1) and
normalised, eps = 0.1. A half-step is one softmin; ten iterations are twenty of them, alternating. Products with fewer
bits have jobs of their own, as their answers are others. Without a CUDA device nothing is measured, and it says so.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Contender, Job
from howfar import costs, kernels, ops

EPS = 0.1
ITERATIONS = 10
_ROWS_CHECKED = 200
_COST = costs.SqEuclidean()


@dataclass(frozen=True)
class Problem:
    """Two weighted clouds on the device, and the rows whose answer is checked in float64."""

    x: Tensor
    y: Tensor
    a: Tensor
    b: Tensor
    checked: Tensor

    @property
    def title(self) -> str:
        """Sizes for a reader."""
        return f"n = m = {len(self.x)}, d = {self.x.shape[1]}, float32, {name_of(self.x.device)}"

    @property
    def h(self) -> Tensor:
        """The first half-step's potential: eps log b."""
        return EPS * self.b.log()


def jobs(*, tiny: bool, long: bool) -> Iterator[Job]:  # noqa: ARG001
    """The sizes of the claim; with `tiny` one of each job that takes no time, in Triton's interpreter without a GPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reason = why_not(device)
    if reason is not None:
        print(f"gpu: nothing measured, as {reason}")
        return
    sizes = [(100, 3), (100, 20)] if tiny else [(10_000, 3), (10_000, 64), (50_000, 3), (50_000, 64), (10_000, 256)]
    for n, d in sizes:
        given = problem(n, d, device)
        yield half_step(given, "ieee", budget=1e-5)
        yield half_step(given, "tf32x3", budget=1e-5)
        yield half_step(given, "tf32", budget=1e-2)
        yield iterations(given)
        yield gradient(given)
        yield gaussian_sum(given, 1)
        yield gaussian_sum(given, 5 if tiny else 500)
        yield neighbours(given, 1)
        yield neighbours(given, 16)


def why_not(device: torch.device) -> str | None:
    """Why the kernels cannot run here, or None."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    from howfar.ops.soft_minimum import triton

    return triton.why_unavailable(_COST, torch.empty(1, 1, device=device))


def name_of(device: torch.device) -> str:
    """The card, or that it is the interpreter."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "Triton's interpreter"


def problem(n: int, d: int, device: torch.device) -> Problem:
    """The clouds of one size."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, d, generator=generator) for _ in range(2))
    a, b = (torch.rand(n, generator=generator) + 0.1 for _ in range(2))
    checked = torch.randperm(n, generator=generator)[:_ROWS_CHECKED]
    return Problem(*(t.to(device) for t in (x, y, a / a.sum(), b / b.sum(), checked)))


def finished(run: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The call, until its kernels are done."""

    def timed() -> Tensor:
        out = run()
        if out.is_cuda:
            torch.cuda.synchronize(out.device)
        return out

    return timed


def job(title: str, given: Problem, contenders: list[Contender], truth: Tensor, budget: float) -> Job:
    """Contenders whose answers on the checked rows are held against the truth."""

    def error(value: Tensor) -> float:
        return float((value[given.checked].double() - truth).abs().max() / truth.abs().max())

    timed = tuple(Contender(c.name, finished(c.run), c.needs) for c in contenders)
    return Job(f"{title}, {given.title}", given.x.dtype, timed, error, budget)


def half_step(given: Problem, precision: str, *, budget: float) -> Job:
    """One softmin."""
    from howfar.ops.soft_minimum import triton

    p, eps = given, given.x.new_tensor(EPS)
    own = Contender(f"howfar, {precision}", lambda: triton.softmin(p.x, p.y, p.h, eps, _COST, precision=precision))
    others = [Contender("flash-sinkhorn", lambda: flash_half_step(p, precision == "tf32"), needs=("flash_sinkhorn",))]
    if precision == "ieee":
        others += [
            Contender("torch in blocks", lambda: in_blocks(p, dense_softmin)),
            Contender("KeOps", lambda: keops_softmin(p), needs=("pykeops",)),
        ]
    truth = dense_softmin(p.x[p.checked].double(), p.y.double(), p.h.double())
    return job(f"softmin, products {precision}", p, [own, *others], truth, budget)


def iterations(given: Problem) -> Job:
    """Ten iterations of alternating Sinkhorn; what is compared is the last potential of the rows."""
    from howfar.ops.soft_minimum import triton

    p, eps = given, given.x.new_tensor(EPS)

    def ours() -> Tensor:
        f, g = torch.zeros_like(p.a), torch.zeros_like(p.b)
        for _ in range(ITERATIONS):
            f = triton.softmin(p.x, p.y, g + EPS * p.b.log(), eps, _COST)
            g = triton.softmin(p.y, p.x, f + EPS * p.a.log(), eps, _COST)
        return f

    def theirs() -> Tensor:
        from flash_sinkhorn.sinkhorn_solvers import sinkhorn_flashstyle_alternating

        f, _ = sinkhorn_flashstyle_alternating(p.x, p.y, p.a, p.b, eps=EPS, n_iters=ITERATIONS, allow_tf32=False)
        return f

    truth = _potential_in_float64(p)[p.checked]
    contenders = [Contender("howfar, ieee", ours), Contender("flash-sinkhorn", theirs, needs=("flash_sinkhorn",))]
    return job(f"{ITERATIONS} alternating iterations", p, contenders, truth, 1e-5)


def gradient(given: Problem) -> Job:
    """The derivative of the sum of one softmin in the points of the rows, values included."""
    from howfar.ops.soft_minimum import triton

    p, eps, ones = given, given.x.new_tensor(EPS), torch.ones_like(given.a)

    def ours() -> Tensor:
        value = triton.softmin(p.x, p.y, p.h, eps, _COST)
        grads = triton.gradient((True, True, True), ones, (p.x, p.y, p.h), (value,), eps, _COST)
        assert grads[0] is not None
        return grads[0]

    def blocks() -> Tensor:
        x = p.x.clone().requires_grad_()
        y, h = p.y.clone().requires_grad_(), p.h.clone().requires_grad_()
        return torch.autograd.grad(ops.softmin(x, y, h, eps=EPS, backend="reference").sum(), (x, y, h))[0]

    rows = p.x[p.checked].double().requires_grad_()
    (truth,) = torch.autograd.grad(dense_softmin(rows, p.y.double(), p.h.double()).sum(), rows)
    contenders = [Contender("howfar, ieee", ours), Contender("torch in blocks", blocks)]
    return job("softmin and its gradient in x, y, h", p, contenders, truth, 1e-4)


def gaussian_sum(given: Problem, columns: int) -> Job:
    """sum_j exp(-|x_i - y_j|^2 / (2 d)) w_j."""
    from howfar.ops.kernel_summation import triton

    p, width = given, given.x.shape[1] ** 0.5
    w = torch.rand(len(p.y), columns, generator=torch.Generator().manual_seed(1)).to(p.y)
    dense = lambda x, y, w: torch.exp(torch.cdist(x, y).square() / (-2 * width**2)) @ w
    contenders = [
        Contender("howfar, ieee", lambda: triton.kernel_sum(p.x, p.y, w, kernels.Gaussian(width))),
        Contender("torch in blocks", lambda: torch.cat([dense(x, p.y, w) for x in p.x.split(_rows(p))])),
        Contender("KeOps", lambda: keops_sum(p, w, width), needs=("pykeops",)),
    ]
    truth = dense(p.x[p.checked].double(), p.y.double(), w.double())
    return job(f"kernel_sum, gaussian, {columns} columns", p, contenders, truth, 1e-5)


def neighbours(given: Problem, k: int) -> Job:
    """The squared distances to the k nearest points."""
    from howfar.ops.nearest_neighbors import triton

    p = given
    smallest = lambda x, y: torch.cdist(x, y).square().topk(k, largest=False).values
    contenders = [
        Contender("howfar", lambda: triton.nearest(p.x, p.y, None, k, _COST)[0]),
        Contender("torch in blocks", lambda: torch.cat([smallest(x, p.y) for x in p.x.split(_rows(p))])),
        Contender("KeOps", lambda: keops_nearest(p, k), needs=("pykeops",)),
    ]
    return job(f"nearest, k = {k}", p, contenders, smallest(p.x[p.checked].double(), p.y.double()), 1e-5)


def dense_softmin(x: Tensor, y: Tensor, h: Tensor) -> Tensor:
    """What a reader of the formula writes."""
    return -EPS * torch.logsumexp((h - torch.cdist(x, y).square()) / EPS, dim=-1)


def in_blocks(p: Problem, dense: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """The same on as many rows as fit."""
    return torch.cat([dense(x, p.y, p.h) for x in p.x.split(_rows(p))])


def _rows(p: Problem) -> int:
    return max(1, 2**27 // len(p.y))


def _potential_in_float64(p: Problem) -> Tensor:
    x, y, a, b = (t.double() for t in (p.x, p.y, p.a, p.b))
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    half = lambda u, v, h: torch.cat([dense_softmin(rows, v, h) for rows in u.split(_rows(p) // 2 + 1)])
    for _ in range(ITERATIONS):
        f = half(x, y, g + EPS * b.log())
        g = half(y, x, f + EPS * a.log())
    return f


def flash_half_step(p: Problem, allow_tf32: bool) -> Tensor:
    """flash-sinkhorn's half-step, from potentials in units of the cost and back."""
    from flash_sinkhorn.kernels.sinkhorn_flashstyle_sqeuclid import flashsinkhorn_lse

    bias = (p.h - p.y.square().sum(1)) / EPS
    return flashsinkhorn_lse(p.x, p.y, bias, EPS, allow_tf32=allow_tf32) + p.x.square().sum(1)


def keops_softmin(p: Problem) -> Tensor:
    """The half-step by a compiled symbolic reduction."""
    from pykeops.torch import LazyTensor

    scores = (LazyTensor(p.h[None, :, None]) - _keops_distances(p)) / EPS
    return scores.logsumexp(dim=1).squeeze(-1) * -EPS


def keops_sum(p: Problem, w: Tensor, width: float) -> Tensor:
    """The kernel sum by a compiled symbolic reduction."""
    return (_keops_distances(p) / (-2 * width**2)).exp() @ w


def keops_nearest(p: Problem, k: int) -> Tensor:
    """The nearest neighbours by a compiled symbolic reduction."""
    return _keops_distances(p).Kmin(k, dim=1)


def _keops_distances(p: Problem) -> Any:
    from pykeops.torch import LazyTensor

    return ((LazyTensor(p.x[:, None, :]) - LazyTensor(p.y[None, :, :])) ** 2).sum(-1)
