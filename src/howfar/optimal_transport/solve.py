"""`transport` and `transport_matrix`: the friendly doors to the solvers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from howfar import _checks, costs
from howfar._errors import DerivativeUnavailable, DomainError, ShapeError, complaint
from howfar.geometry import DenseCost, Geometry, between
from howfar.measure import Measure, measures
from howfar.ops.soft_minimum import CostLike, check_eps
from howfar.optimal_transport import certificate, coarse, exact
from howfar.optimal_transport.dual import dual_value
from howfar.optimal_transport.marginals import HARD, KINDS, Marginal
from howfar.optimal_transport.problem import LinearProblem, check_digits
from howfar.optimal_transport.result import EntropicResult, ExactResult, OTResult
from howfar.optimal_transport.sinkhorn import Sinkhorn, Solution, warn_unless_converged
from howfar.optimal_transport.status import Status

Reach = float | Sequence[float | None] | None
"""One reach for both sides, or one for each; None where a marginal is hard."""
_COARSEST = 0.05
"""The first temperature tried for a given accuracy, as a share of the largest cost."""
_ROUNDING = 0.25
"""Of the largest cost, what shows as rounding in the exponent of the plan; seen to divide float32 from float64."""
_FAINT = 1e-15
"""Costs below which the squares behind them lose their digits in float32."""
_REACHES = 1e-30, 1e30
"""What float32 can multiply with potentials, and divide them by."""
_INSTEAD = "howfar.sinkhorn_divergence, sinkhorn_distance or wasserstein"
"""What `torch.func` takes."""
AUTO = 0.05
"""The temperature that eps="auto" stands for, as a share of the mean cost sum_ij a_i b_j C_ij."""


def transport(
    x: Any,
    y: Any,
    *,
    a: Any = None,
    b: Any = None,
    cost: CostLike = "sqeuclidean",
    eps: float | Tensor | str | None = None,
    blur: float | None = None,
    reach: Reach = None,
    penalty: str = "kl",
    accuracy: float | None = None,
    tol: float | None = None,
    max_iter: int = 2000,
    init: OTResult | None = None,
    backend: str = "auto",
) -> OTResult:
    r"""Optimal transport between two weighted clouds: the value, the plan, the potentials, and how well they are known.

    Without `eps`, `blur` and `accuracy` the transport is exact: min <P, C> over couplings P of a and b. With a
    temperature it is entropic (Cuturi 2013), min <P, C> + eps KL(P | a b^T), solved in the log domain. With `reach`
    the marginals are soft (Chizat et al. 2018, Sejourne et al. 2019): each pays reach**p KL(P 1 | a), or with
    penalty="tv" reach**p |P 1 - a|_1, which is partial transport: a unit is moved where that costs less than
    2 reach**p, what it costs to leave it out on both sides, and left out whole beyond.

    Args:
        x: points (..., n, d); or a list of clouds (n_b, d) of different sizes, a batch (B,) of them.
        y: points (..., m, d).
        a: weights (..., n) of x, uniform when left out; they sum to one unless `reach` is given.
        b: weights (..., m) of y.
        cost: a name, an object of `howfar.costs`, or a callable; "sqeuclidean" is |x - y|^2, never halved.
        eps: entropic strength in units of the cost, differentiable where it is a tensor and the cost has a degree;
            "auto" is 5 % of the mean cost sum_ij a_i b_j C_ij, a constant.
        blur: eps ** (1 / p) in units of the data, p the degree of the cost; instead of eps.
        reach: the distance, in units of the data, beyond which mass is rather destroyed than moved; a pair gives
            one for x and one for y, where None keeps that marginal hard.
        penalty: "kl" or "tv", on soft marginals.
        accuracy: instead of eps: lower eps until the certified bounds differ by less than this share, and solve
            exactly where no temperature that the dtype holds proves it.
        tol: stop at this marginal error, relative to the mass; 1e-6 in float64 and 1e-4 in float32 when left out.
        max_iter: most iterations.
        init: a former result on as many points, to start from.
        backend: passed to the ops.

    Returns:
        An `OTResult`; its numbers are in units of the cost. A warning says so when it did not converge.

    Raises:
        ShapeError, DomainError, UnknownName, BackendUnavailable: naming the argument and the fix.

    Example:
        >>> import torch, howfar
        >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [3.0]])
        >>> howfar.transport(x, y).value
        tensor(4.)
        >>> howfar.transport(x, y, eps=0.1).plan().sum()
        tensor(1.)
    """
    _checks.refuse_transforms("transport", _INSTEAD)
    left, right = widened(*measures(x, y, a, b, normalised=not is_soft(reach)))
    geometry = between(left.points, right.points, costs.resolve(cost), backend)
    solver = Sinkhorn(tol=tol, max_iter=max_iter)
    soft = marginals(reach, penalty, geometry)
    return solved(geometry, left.weights, right.weights, eps, blur, soft, accuracy, solver, init)


def transport_matrix(
    C: Any,
    a: Any = None,
    b: Any = None,
    *,
    eps: float | Tensor | str | None = None,
    reach: Reach = None,
    penalty: str = "kl",
    accuracy: float | None = None,
    tol: float | None = None,
    max_iter: int = 2000,
    init: OTResult | None = None,
) -> OTResult:
    """`transport` on a cost matrix C (..., n, m); `reach` is then in units of the cost, the weight of the penalty.

    Example:
        >>> import torch, howfar
        >>> howfar.transport_matrix(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), eps=1.0).plan()
        tensor([[0.3655, 0.1345],
                [0.1345, 0.3655]])
    """
    _checks.refuse_transforms("transport_matrix", _INSTEAD)
    matrix = _checks.as_tensor(C, "C")
    if matrix.ndim < 2 or 0 in matrix.shape[-2:]:
        raise ShapeError(
            complaint("C", "a cost matrix (..., n, m)", f"shape {tuple(matrix.shape)}", "Pass one cost for each pair.")
        )
    _checks.check_finite(matrix, "C", "Fill it first; a pair that must not meet gets a large cost.")
    matrix = matrix.to(torch.promote_types(matrix.dtype, torch.float32))
    normalised = not is_soft(reach)
    left = Measure.of(matrix.detach(), a, name="C", weights_name="a", normalised=normalised)
    right = Measure.of(matrix.detach().mT, b, name="C", weights_name="b", normalised=normalised)
    batch = _checks.check_batch(left.batch, right.batch, "a", "b")
    solver = Sinkhorn(tol=tol, max_iter=max_iter)
    weights = left.expand(batch).weights, right.expand(batch).weights
    geometry = DenseCost(matrix.expand(*batch, *matrix.shape[-2:]))
    return solved(geometry, *weights, eps, None, marginals(reach, penalty, geometry), accuracy, solver, init)


def solve_entropic(
    problem: LinearProblem, solver: Sinkhorn, init: Tensor | None = None
) -> tuple[Tensor, Solution, LinearProblem]:
    """(value, solution, problem as solved) of an entropic problem; the value is differentiable.

    Where the rounding of float32 potentials, divided by eps, would show in the marginals, the problem is solved in
    float64, and the solution is of that dtype; the value keeps the dtype of the input.
    """
    dtype = problem.a.dtype
    solver = replace(solver, tol=solver.promised(dtype))
    if dtype != torch.float64 and _is_rough(problem, solver):
        problem = problem.double()
    _check_resolved(problem)
    problem = coarse.arranged(problem)
    start, near = coarse.guess(problem, solver) if init is None else (init, None)
    solution = solver.solve(problem, start, near)
    if problem.a.dtype != torch.float64 and solution.status is Status.PRECISION and problem.a.device.type != "mps":
        problem = problem.double()
        solution = solver.solve(problem, solution.g, solution.f)
    value = dual_value(problem, solution.f, solution.g, solution.dual).to(dtype)
    begun = "; started on coarse clouds, as these are large" if init is None else "; started from init"
    wide = "; in float64, as float32 would show in the marginals" if problem.a.dtype != dtype else ""
    solution = replace(solution, method=f"{solution.method}{begun if start is not None else ''}{wide}")
    return _checks.check_held(value, "costs"), solution, problem


def _is_rough(problem: LinearProblem, solver: Sinkhorn) -> bool:
    if problem.a.device.type == "mps":
        return False
    scale = problem.scale
    # A low temperature divides what is rounded by little; a high one multiplies it, and again in the value.
    ratio = torch.maximum(scale / problem.eps, 4 * problem.eps / scale)
    rounding = _ROUNDING * torch.finfo(problem.a.dtype).eps * ratio
    return bool(((rounding > solver.promised(problem.a.dtype)) | (scale < _FAINT)).any())


def _check_resolved(problem: LinearProblem) -> None:
    """Refuse a temperature that is lost beside the costs: marginals would seem exact, and the bounds would not hold."""
    least = torch.finfo(problem.a.dtype).eps * _checks.check_held(problem.scale, "costs")
    below = problem.eps < least
    if not _checks.unseen(least) and bool(below.any()):
        seen = f"a temperature that {problem.a.dtype} can tell from 0 beside the costs, at least {least[below][0]:.2g}"
        got, fix = f"{problem.eps[below][0]:.2g}", "Pass a larger one, or none for exact transport."
        raise DomainError(complaint("eps", seen, got, fix))


def solve_geometry(geometry: Geometry, a: Tensor, b: Tensor, eps: float, solver: Sinkhorn) -> EntropicResult:
    """An entropic result for a geometry and a solver that are already made."""
    problem = LinearProblem(geometry, a, b, check_eps(eps, geometry.batch, a))
    value, solution, problem = solve_entropic(problem, solver)
    warn_unless_converged(solution, "SinkhornDistance")
    return _result(problem, value, solution)


def temperature(eps: Any, blur: Any, geometry: Geometry, a: Tensor, b: Tensor) -> Tensor | None:
    """The temperature (...) in units of the cost from eps or blur, None when neither is given."""
    if eps is not None and blur is not None:
        raise DomainError(complaint("eps", "either eps or blur", "both", "blur = eps ** (1 / p); pass one of them."))
    if blur is not None:
        return check_eps(_constant(blur, "blur") ** _degree(geometry, "blur", "eps"), geometry.batch, a)
    if isinstance(eps, str):
        if eps != "auto":
            raise DomainError(complaint("eps", "a number or 'auto'", repr(eps), "Pass eps as a float."))
        check_digits(geometry)
        with torch.no_grad():
            mean = (a.detach() * geometry.apply(b.detach(), "x")).sum(-1) / (a.sum(-1) * b.sum(-1)).detach()
        _checks.check_held(mean, "costs")
        return torch.where(mean > 0, AUTO * mean, 1).to(torch.promote_types(a.dtype, torch.float32))
    return None if eps is None else check_eps(eps, geometry.batch, a)


def required_temperature(eps: Any, blur: Any, geometry: Geometry, a: Tensor, b: Tensor) -> Tensor:
    """As `temperature`, where one of the two has to be given."""
    strength = temperature(eps, blur, geometry, a, b)
    if strength is None:
        raise DomainError(
            complaint(
                "eps",
                "an entropic strength",
                "neither eps nor blur",
                "Pass blur, the resolution in units of the data, or eps, in units of the cost.",
            )
        )
    return strength


def is_soft(reach: Reach) -> bool:
    """Whether any marginal is soft, so that masses need not be equal."""
    return any(r is not None for r in reach) if isinstance(reach, tuple | list) else reach is not None


def marginals(reach: Reach, penalty: str, geometry: Geometry) -> tuple[Marginal, Marginal]:
    """The penalties on both marginals, with rho = reach ** p in units of the cost."""
    kind = _checks.check_choice(penalty, "penalty", KINDS)
    if kind != "kl" and not is_soft(reach):
        raise DomainError(
            complaint(
                "penalty", "reach beside it", repr(penalty), "Pass reach, or leave penalty out for hard marginals."
            )
        )
    both = reach if isinstance(reach, tuple | list) else (reach, reach)
    if len(both) != 2:
        raise DomainError(
            complaint(
                "reach", "a number, or a pair for x and y", f"{len(both)} of them", "Pass reach=(reach_x, reach_y)."
            )
        )
    x, y = (HARD if r is None else Marginal(_weight(r, geometry), kind) for r in both)  # type: ignore[arg-type]
    return x, y


def alike(soft: tuple[Marginal, Marginal]) -> tuple[Marginal, Marginal]:
    """The penalties of a debiased problem, which are the same on both sides."""
    if soft[0] != soft[1]:
        raise DomainError(
            complaint(
                "reach",
                "one for both sides, as a divergence debiased with two is not zero between equal measures",
                "two",
                "Pass one number, or use howfar.transport(..., reach=(reach_x, reach_y)).",
            )
        )
    return soft


def _weight(reach: float, geometry: Geometry) -> float:
    reach = _constant(reach, "reach")
    degree = 1.0 if isinstance(geometry, DenseCost) else _degree(geometry, "reach", "costs.Power")
    least, most = _REACHES
    if not least ** (1 / degree) <= reach <= most ** (1 / degree):
        power = "" if degree == 1 else f" ** {degree:g}"
        fix = "Leave reach out for hard marginals." if reach > 1 else "Pass a larger reach."
        raise DomainError(
            complaint("reach", f"{least:g} <= reach{power} <= {most:g}, in units of the cost", f"{reach:g}", fix)
        )
    return float(reach**degree)


def _constant(value: Any, name: str) -> float:
    """A positive number, which a derivative does not reach."""
    if isinstance(value, Tensor) and value.requires_grad:
        raise DerivativeUnavailable(
            f"{name}: there is no derivative in it, only in eps. Pass {name}.detach(), or eps as a tensor."
        )
    return _checks.check_positive(value, name)


def _degree(geometry: Geometry, argument: str, instead: str) -> float:
    if geometry.degree is None:
        raise DomainError(
            complaint(
                argument,
                "a cost that scales as a power of the distance",
                "one that does not",
                f"Use {instead} for this cost.",
            )
        )
    return geometry.degree


def widened(x: Measure, y: Measure) -> tuple[Measure, Measure]:
    """Both measures in at least float32."""
    dtype = torch.promote_types(x.points.dtype, torch.float32)
    return x.to(dtype), y.to(dtype)


def solved(
    geometry: Geometry,
    a: Tensor,
    b: Tensor,
    eps: Any,
    blur: Any,
    soft: tuple[Marginal, Marginal],
    accuracy: float | None,
    solver: Sinkhorn,
    init: OTResult | None,
) -> OTResult:
    """The result for a geometry and marginals that are already made."""
    strength = temperature(eps, blur, geometry, a, b)
    hard = soft == (HARD, HARD)
    start = None if init is None else _start(init, b)
    if accuracy is not None:
        return _to_accuracy(geometry, a, b, strength, hard, accuracy, solver, start)
    if strength is None:
        if not hard:
            raise DomainError(
                complaint(
                    "reach", "eps or blur beside it", "neither", "Unbalanced transport is solved with a temperature."
                )
            )
        return _exact(geometry, a, b)
    problem = LinearProblem(geometry, a, b, strength, soft)
    value, solution, problem = solve_entropic(problem, solver, start)
    warn_unless_converged(solution, "transport")
    return _result(problem, value, solution)


def _start(init: OTResult, b: Tensor) -> Tensor:
    if not isinstance(init, OTResult):
        raise DomainError(complaint("init", "a former result", type(init).__name__, "Start without init."))
    g = init.potentials[1].detach()
    if g.shape[-1] != b.shape[-1]:
        raise ShapeError(
            complaint("init", f"a result on {b.shape[-1]} points y", f"one on {g.shape[-1]}", "Start without init.")
        )
    if g.ndim > b.ndim or _checks.check_batch(b.shape[:-1], g.shape[:-1], "y", "init") != b.shape[:-1]:
        batch, got = tuple(b.shape[:-1]), tuple(g.shape[:-1])
        raise ShapeError(complaint("init", f"a result on a batch {batch}", f"one on {got}", "Start without init."))
    return g


def _exact(geometry: Geometry, a: Tensor, b: Tensor) -> ExactResult:
    problem = LinearProblem(geometry, a, b, a.new_zeros(geometry.batch))
    value, plan, status, error = exact.solve(problem)
    return ExactResult(value, status, 0, error, problem, plan.method, plan)


def _result(problem: LinearProblem, value: Tensor, solution: Solution) -> EntropicResult:
    error = solution.marginal_error.to(value.dtype)
    potentials = solution.f, solution.g
    return EntropicResult(value, solution.status, solution.n_iter, error, problem, solution.method, potentials)


def _to_accuracy(
    geometry: Geometry,
    a: Tensor,
    b: Tensor,
    strength: Tensor | None,
    hard: bool,
    accuracy: float,
    solver: Sinkhorn,
    start: Tensor | None,
) -> OTResult:
    accuracy = _checks.check_positive(accuracy, "accuracy")
    if strength is not None or not hard:
        raise DomainError(
            complaint("accuracy", "no eps, blur or reach beside it", "one of them", "accuracy chooses eps by itself.")
        )
    check_digits(geometry)
    eps = _COARSEST * geometry.scale().to(a)
    eps = torch.where(eps > 0, eps, 1)
    smallest = 64 * torch.finfo(a.dtype).eps * eps
    # A cost of nothing has no share: bounds as close as they can be then prove it.
    nothing = 8 * certificate.RESOLUTION * eps / _COARSEST
    while True:
        value, solution, problem = solve_entropic(LinearProblem(geometry, a, b, eps), solver, start)
        result = _result(problem, value, solution)
        lower, upper = result.bounds
        short = upper - lower > accuracy * lower.abs() + nothing
        if not bool(short.any()):
            return result
        if bool((eps <= smallest).all()):
            return _exact(geometry, a, b)
        start = solution.g
        eps = torch.where(short, eps / 2, eps)
