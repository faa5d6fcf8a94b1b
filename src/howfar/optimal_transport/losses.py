"""Distances that are one transport solve, or three."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from howfar import _checks, costs
from howfar._errors import DomainError, complaint
from howfar.geometry import between
from howfar.measure import Measure, in_their_unit, measures
from howfar.ops.soft_minimum import CostLike, check_eps
from howfar.optimal_transport import one_dimensional, solve
from howfar.optimal_transport.debiasing import Potentials, debiased
from howfar.optimal_transport.one_step import in_one_step
from howfar.optimal_transport.problem import LinearProblem
from howfar.optimal_transport.sinkhorn import Sinkhorn


def wasserstein(
    x: Any, y: Any, *, p: float = 2.0, a: Any = None, b: Any = None, cost: CostLike = "euclidean"
) -> Tensor:  # (...)
    """The Wasserstein distance W_p = (min_P sum_ij P_ij c(x_i, y_j)^p)^(1/p), exact, in units of the data.

    On the line it is the distance of the quantile functions, found by sorting, for every cost that is a power >= 1 of the
    distance; in more dimensions an exact linear programme. Columns are compared one by one as a batch, (d, n, 1).
    Differentiable in points and weights; at distance 0 the derivative given is 0.

    Args:
        x: points (..., n, d); or a list of clouds (n_b, d) of different sizes, a batch (B,) of them.
        y: points (..., m, d).
        p: order, >= 1.
        a: weights (..., n) of x, uniform when left out; they sum to one.
        b: weights (..., m) of y.
        cost: the ground distance, before the power p.

    Example:
        >>> import torch, howfar
        >>> howfar.wasserstein(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0]))
        tensor(2.)
    """
    p = _checks.check_number(p, "p", least=1.0)
    ground = costs.resolve(cost)
    left, right = solve.widened(*measures(x, y, a, b))
    dtype = left.points.dtype
    unit = left.points.new_ones(())
    if ground.degree is not None:
        left, right, unit = in_their_unit(left, right, p * ground.degree)
    power = p * (ground.degree or 0.0)
    if left.d == 1 and power >= 1 and _of_distance(ground):
        value = one_dimensional.quantile_cost(
            left.points.squeeze(-1), right.points.squeeze(-1), _weights(left), _weights(right), power
        )
    else:
        power_cost = costs.Power(ground, p)
        value = in_one_step(lambda x, y: solve.transport(x, y, cost=power_cost).value, left, right, cost=ground)
    return (unit ** (ground.degree or 1.0) * costs.safe_power(value, 1 / p)).to(dtype)


def sinkhorn_distance(
    x: Any,
    y: Any,
    *,
    eps: float | Tensor | str,
    a: Any = None,
    b: Any = None,
    cost: CostLike = "sqeuclidean",
    tol: float | None = None,
    max_iter: int = 2000,
    backend: str = "auto",
) -> Tensor:  # (...)
    """<P, C> of the entropic plan P (Cuturi 2013): at least the exact cost, and larger as eps grows; in units of the cost.

    Its derivative goes through the plan, by the implicit function theorem. As a loss prefer `sinkhorn_divergence`,
    which is zero between equal measures.

    Args:
        x: points (..., n, d).
        y: points (..., m, d).
        eps: entropic strength, in units of the cost; "auto" is 5 % of the mean cost.
        a: weights (..., n) of x, uniform when left out; they sum to one.
        b: weights (..., m) of y.
        cost: a name, an object of `howfar.costs`, or a callable.
        tol: stop at this marginal error; 1e-6 in float64 and 1e-4 in float32 when left out.
        max_iter: most iterations.
        backend: passed to the ops.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> howfar.sinkhorn_distance(x, x + 2, eps=0.01)
        tensor(8.)
    """
    if eps is None:
        raise DomainError(
            complaint("eps", "an entropic strength", "None", "Pass eps in units of the cost, or eps='auto'.")
        )
    left, right = measures(x, y, a, b)
    ground = costs.resolve(cost)

    def distance(x: Measure, y: Measure, *given: Tensor) -> Tensor:
        strength = given[0] if given else eps
        return solve.transport(x, y, cost=ground, eps=strength, tol=tol, max_iter=max_iter, backend=backend).cost

    return in_one_step(distance, left, right, *_at(eps, left), cost=ground)


def sinkhorn_divergence(
    x: Any,
    y: Any,
    *,
    eps: float | Tensor | str | None = None,
    blur: float | None = None,
    reach: solve.Reach = None,
    penalty: str = "kl",
    a: Any = None,
    b: Any = None,
    cost: CostLike = "sqeuclidean",
    tol: float | None = None,
    max_iter: int = 2000,
    backend: str = "auto",
) -> Tensor:  # (...)
    """S = OT(x, y) - OT(x, x) / 2 - OT(y, y) / 2 + eps (mass_a - mass_b)^2 / 2, with OT the entropic transport cost.

    Zero between equal measures, positive otherwise, and a smooth loss between the Wasserstein cost (eps -> 0) and
    the squared distance of the means (eps -> inf, squared Euclidean cost). Feydy et al. 2019; unbalanced: Sejourne
    et al. 2019, whose mass term this is, for either penalty. In units of the cost. Differentiable twice in points,
    weights and eps: Hessian-vector products stream.

    Args:
        x: points (..., n, d); or a list of clouds (n_b, d) of different sizes, a batch (B,) of them.
        y: points (..., m, d).
        eps: entropic strength in units of the cost, "auto" is 5 % of the mean cost of x against y, a constant; or
        blur: eps ** (1 / p) in units of the data, p the degree of the cost.
        reach: the distance beyond which mass is rather destroyed than moved, in units of the data; None: never.
            Both sides have one reach, as with two the divergence of equal measures would not be zero.
        penalty: "kl" or "tv", on soft marginals, as in `transport`.
        a: weights (..., n) of x, uniform when left out; they sum to one unless `reach` is given.
        b: weights (..., m) of y.
        cost: a name, an object of `howfar.costs`, or a symmetric callable.
        tol: stop at this marginal error; 1e-6 in float64 and 1e-4 in float32 when left out.
        max_iter: most iterations.
        backend: passed to the ops.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> howfar.sinkhorn_divergence(x, x + 2, blur=0.1)
        tensor(8.)
    """
    numerics: dict[str, Any] = {"tol": tol, "max_iter": max_iter, "backend": backend}
    return divergence_from(
        None, x, y, eps=eps, blur=blur, reach=reach, penalty=penalty, a=a, b=b, cost=cost, **numerics
    )[0]


def divergence_from(
    starts: Potentials | None,
    x: Any,
    y: Any,
    *,
    eps: float | Tensor | str | None = None,
    blur: float | None = None,
    reach: solve.Reach = None,
    penalty: str = "kl",
    a: Any = None,
    b: Any = None,
    cost: CostLike = "sqeuclidean",
    tol: float | None = None,
    max_iter: int = 2000,
    backend: str = "auto",
) -> tuple[Tensor, Potentials | None]:
    """`sinkhorn_divergence` started from the potentials of a former one where they fit, and the potentials of this one.

    Inside of `torch.func` there are none to start from, and none are given.
    """
    left, right = solve.widened(*measures(x, y, a, b, normalised=not solve.is_soft(reach)))
    ground = costs.resolve(cost)
    solver = Sinkhorn(tol=tol, max_iter=max_iter)
    starts = starts if starts is not None and _fit(starts, left, right) else None

    def divergence(left: Measure, right: Measure, *given: Tensor) -> tuple[Tensor, Potentials]:
        across = between(left.points, right.points, ground, backend)
        temperature = given[0] if given else eps
        strength = solve.required_temperature(temperature, blur, across, left.weights, right.weights)
        soft = solve.alike(solve.marginals(reach, penalty, across))

        def problem(one: Measure, other: Measure) -> LinearProblem:
            geometry = across if one is not other else between(one.points, other.points, ground, backend)
            symmetric = one is other and ground.swapped() is ground
            return LinearProblem(geometry, one.weights, other.weights, strength, soft, symmetric)

        sides = problem(left, right), problem(left, left), problem(right, right)
        return debiased(*sides, solver, "sinkhorn_divergence", starts)

    if _checks.differentiated_otherwise():
        value = in_one_step(lambda *inputs: divergence(*inputs)[0], left, right, *_at(eps, left), cost=ground)
        return value, None
    return divergence(left, right)


def _fit(starts: Potentials, x: Measure, y: Measure) -> bool:
    """Whether potentials are finite, and of as many points, of one batch shape, and on the device of the measures."""
    shapes = y.weights.shape, x.weights.shape, y.weights.shape
    return all(
        g.shape == shape and g.device == x.points.device and bool(torch.isfinite(g).all())
        for g, shape in zip(starts, shapes, strict=True)
    )


def _at(eps: Any, measure: Measure) -> tuple[Tensor, ...]:
    """The temperature of each batch element, where it is a tensor and so may be differentiated in."""
    return (check_eps(eps, measure.batch, measure.points),) if isinstance(eps, Tensor) else ()


def _of_distance(cost: costs.Cost) -> bool:
    """Whether the cost is a power of |x - y| on the line."""
    base = cost.base if isinstance(cost, costs.Power) else cost
    return isinstance(base, costs.SqEuclidean | costs.Euclidean | costs.CityBlock | costs.Minkowski)


def _weights(measure: Measure) -> Tensor | None:
    return None if measure.uniform else measure.weights
