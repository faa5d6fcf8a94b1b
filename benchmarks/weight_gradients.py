"""Claim: the derivative of the transport cost in the weights is right, next to what other libraries return.

The error is that of the directional derivatives along random directions that keep both masses, relative to the largest,
against central differences of a plain alternation in float64 that is run to the rounding floor. Exact transport has the
differences of a linear programme. Where marginals are soft, any direction will do. What is timed is value and gradient.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

import howfar
from benchmarks.harness import Contender, Job

_STEP = 1e-5
_BUDGET = 1e-5
_RHO = 0.7

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Problem:
    """Two weighted clouds, and directions in which the weights may move."""

    x: Tensor
    y: Tensor
    a: Tensor
    b: Tensor
    directions: tuple[tuple[Tensor, Tensor], ...]

    @property
    def matrix(self) -> Tensor:
        """|x - y|^2."""
        return (self.x[:, None] - self.y).square().sum(-1)


def jobs(*, tiny: bool, long: bool) -> Iterator[Job]:  # noqa: ARG001
    """Balanced and unbalanced entropic cost, the debiased one, and exact transport."""
    n, m = (8, 6) if tiny else (60, 50)
    eps = 0.5
    balanced, free = problem(n, m, masses_fixed=True), problem(n, m, masses_fixed=False)
    cost = lambda p: lambda a, b: howfar.transport(p.x, p.y, a=a, b=b, eps=eps, tol=1e-10).value
    soft = lambda a, b: howfar.transport(free.x, free.y, a=a, b=b, eps=eps, reach=_RHO**0.5, tol=1e-10).value
    divergence = lambda a, b: howfar.sinkhorn_divergence(balanced.x, balanced.y, a=a, b=b, eps=eps, tol=1e-10)
    exact = lambda a, b: howfar.transport(balanced.x, balanced.y, a=a, b=b).value
    yield job(
        f"entropic transport, eps = {eps}",
        balanced,
        lambda a, b: alternation(balanced.matrix, a, b, eps),
        cost(balanced),
        {
            "POT solve_sample, autodiff": (pot_sample(balanced, eps, "autodiff"), "ot"),
            "POT solve_sample, envelope": (pot_sample(balanced, eps, "envelope"), "ot"),
            "POT solve_sample, last_step": (pot_sample(balanced, eps, "last_step"), "ot"),
        },
    )
    yield job(
        f"<P, C> of the entropic plan, eps = {eps}",
        balanced,
        lambda a, b: paid(balanced.matrix, a, b, eps),
        lambda a, b: howfar.sinkhorn_distance(balanced.x, balanced.y, a=a, b=b, eps=eps, tol=1e-10),
        {"POT ot.sinkhorn2": (pot_sinkhorn(balanced, eps), "ot")},
    )
    yield job(
        f"unbalanced entropic transport, eps = {eps}, rho = {_RHO}",
        free,
        lambda a, b: alternation(free.matrix, a, b, eps, _RHO),
        soft,
        {"GeomLoss, debias=False": (geomloss_loss(free, eps, debias=False, reach=_RHO), "geomloss")},
    )
    yield job(
        f"Sinkhorn divergence, eps = {eps}",
        balanced,
        lambda a, b: debiased(balanced, a, b, eps),
        divergence,
        {"GeomLoss": (geomloss_loss(balanced, eps, debias=True), "geomloss")},
    )
    yield job(
        "exact transport",
        balanced,
        lambda a, b: programme(balanced.matrix, a, b),
        exact,
        {"POT ot.emd2": (pot_exact(balanced), "ot")},
    )


def problem(n: int, m: int, *, masses_fixed: bool) -> Problem:
    """The clouds of one size."""
    generator = torch.Generator().manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    x, y = normal(n, 2), normal(m, 2) + 0.5
    a, b = ((torch.rand(k, generator=generator, dtype=torch.float64) + 0.5) for k in (n, m))
    a, b = a / a.sum(), b / b.sum()
    directions = []
    for _ in range(5):
        moves = normal(n) * a, normal(m) * b
        directions.append(tuple(t - t.mean() if masses_fixed else t for t in moves))
    return Problem(x, y, a, b, tuple(directions))  # type: ignore[arg-type]


def job(title: str, p: Problem, truth: Loss, ours: Loss, peers: dict[str, tuple[Loss, str]]) -> Job:
    """Contenders whose directional derivatives are held against differences of the truth."""
    slopes = []
    with torch.no_grad():
        for u, v in p.directions:
            ends = [truth(p.a + sign * _STEP * u, p.b + sign * _STEP * v) for sign in (1, -1)]
            slopes.append((ends[0] - ends[1]) / (2 * _STEP))
    expected = torch.stack(slopes)

    def gradient(loss: Loss) -> Callable[[], Tensor]:
        def run() -> Tensor:
            a, b = p.a.clone().requires_grad_(), p.b.clone().requires_grad_()
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                value = loss(a, b)
                found = torch.autograd.grad(value, (a, b), allow_unused=True) if value.requires_grad else (None, None)
            both = [torch.zeros_like(t) if g is None else g for g, t in zip(found, (a, b), strict=True)]
            return torch.cat(both)

        return run

    def error(found: Tensor) -> float:
        along = torch.stack([found @ torch.cat(direction) for direction in p.directions])
        return float((along - expected).abs().max() / expected.abs().max())

    contenders = [Contender("howfar", gradient(ours))]
    contenders += [Contender(name, gradient(loss), needs=(module,)) for name, (loss, module) in peers.items()]
    return Job(f"gradient in the weights: {title}", p.x.dtype, contenders, error, _BUDGET)


def alternation(matrix: Tensor, a: Tensor, b: Tensor, eps: float, rho: float | None = None) -> Tensor:
    """The entropic objective with KL against a b^T, by its definition."""
    f, g = potentials(matrix, a, b, eps, rho)
    reward = (lambda t: t) if rho is None else (lambda t: rho * (1 - torch.exp(-t / rho)))
    mass = a @ torch.exp((f[:, None] + g - matrix) / eps) @ b
    return a @ reward(f) + b @ reward(g) - eps * (mass - a.sum() * b.sum())


def paid(matrix: Tensor, a: Tensor, b: Tensor, eps: float) -> Tensor:
    """<P, C> of the entropic plan, by its definition."""
    f, g = potentials(matrix, a, b, eps)
    return a @ (torch.exp((f[:, None] + g - matrix) / eps) * matrix) @ b


def potentials(matrix: Tensor, a: Tensor, b: Tensor, eps: float, rho: float | None = None) -> tuple[Tensor, Tensor]:
    """Both, by plain alternation to the rounding floor."""
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    damping = 1.0 if rho is None else rho / (rho + eps)
    for _ in range(3000):
        f = -damping * eps * torch.logsumexp((g - matrix) / eps + b.log(), 1)
        new = -damping * eps * torch.logsumexp((f[:, None] - matrix) / eps + a.log()[:, None], 0)
        change, g = (new - g).abs().max(), new
        if change < 1e-15 * (1 + g.abs().max()):
            break
    return f, g


def debiased(p: Problem, a: Tensor, b: Tensor, eps: float) -> Tensor:
    """The Sinkhorn divergence by its definition."""
    own = lambda t, w: alternation((t[:, None] - t).square().sum(-1), w, w, eps)
    return alternation(p.matrix, a, b, eps) - 0.5 * own(p.x, a) - 0.5 * own(p.y, b)


def programme(matrix: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The least cost of a coupling, by SciPy's linear programme."""
    n, m = matrix.shape
    sums = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])[:-1]
    wanted = torch.cat([a, b])[:-1].numpy()
    return torch.tensor(linprog(matrix.flatten().numpy(), A_eq=sums, b_eq=wanted).fun, dtype=matrix.dtype)


def pot_sample(p: Problem, eps: float, grad: str) -> Loss:
    """POT's value on clouds, with the mode of differentiation named."""

    def loss(a: Tensor, b: Tensor) -> Tensor:
        import ot

        return ot.solve_sample(p.x, p.y, a, b, reg=eps, reg_type="KL", grad=grad, tol=1e-12, max_iter=5000).value

    return loss


def pot_sinkhorn(p: Problem, eps: float) -> Loss:
    """POT's cost of the plan, differentiated through its iterations."""

    def loss(a: Tensor, b: Tensor) -> Tensor:
        import ot

        return ot.sinkhorn2(a, b, p.matrix, eps, method="sinkhorn_log", stopThr=1e-12, numItermax=5000)

    return loss


def pot_exact(p: Problem) -> Loss:
    """POT's network simplex on the matrix."""

    def loss(a: Tensor, b: Tensor) -> Tensor:
        import ot

        return ot.emd2(a, b, p.matrix)

    return loss


def geomloss_loss(p: Problem, eps: float, *, debias: bool, reach: float | None = None) -> Loss:
    """GeomLoss at its tightest annealing; it halves the cost, so eps, rho and the value are halves."""

    def loss(a: Tensor, b: Tensor) -> Tensor:
        from geomloss import SamplesLoss

        wide = None if reach is None else (reach / 2) ** 0.5
        made = SamplesLoss(
            "sinkhorn", p=2, blur=(eps / 2) ** 0.5, reach=wide, scaling=0.99, debias=debias, backend="tensorized"
        )
        return 2 * made(a, p.x, b, p.y)

    return loss
