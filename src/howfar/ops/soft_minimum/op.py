"""The contract of the soft minimum: checks, backend, derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from howfar import _checks, costs
from howfar._errors import DomainError, ShapeError, complaint
from howfar.ops import backends, ragged, temperature
from howfar.ops.precision import cast, working
from howfar.ops.reduction import Formula, Reduction
from howfar.ops.soft_minimum import cpu, reference

CostLike = str | costs.Cost | Callable[[Tensor, Tensor], Tensor]


def softmin(
    x: Any,  # (..., n, d)
    y: Any,  # (..., m, d)
    h: Any,  # (..., m)   in units of the cost
    *,
    eps: float | Tensor,
    cost: CostLike = "sqeuclidean",
    backend: str = "auto",
    offsets: tuple[Any, Any] | None = None,
) -> Tensor:  # (..., n)   in units of the cost
    """-eps log sum_j exp((h_j - c(x_i, y_j)) / eps), one number for each row of x.

    This is the half-step of Sinkhorn's algorithm with h = g + eps log b. Linear memory; exact first and second
    derivatives in x, y, h and eps. An entry h_j = -inf removes the point y_j.

    Args:
        x: points (..., n, d).
        y: points (..., m, d).
        h: shifted potentials (..., m), in units of the cost; -inf allowed, not in a whole row.
        eps: temperature in units of the cost, a number or one for each batch element (...).
        cost: a name, an object of `howfar.costs`, or a callable.
        backend: "auto", "reference", "cpu" or "triton"; an explicit name never falls back.
        offsets: (x_offsets, y_offsets), each (B + 1,) integers, for a ragged batch: x (N, d), y (M, d) and h (M,) are then
            concatenations, and problem b pairs x[x_offsets[b] : x_offsets[b + 1]] with the like of y. eps may be (B,).

    Raises:
        ShapeError: shapes that do not fit.
        DomainError: non-finite points, NaN or +inf in h, eps <= 0.
        BackendUnavailable: the named backend cannot run here.

    Example:
        >>> import torch, howfar
        >>> howfar.ops.softmin(torch.zeros(1, 1), torch.tensor([[1.0], [2.0]]), torch.zeros(2), eps=0.01)
        tensor([1.])
    """
    if offsets is not None:
        return _ragged(x, y, h, eps, cost, backend, offsets)
    x, y, h, eps, cost = _checked(x, y, h, eps, cost, backend)
    if temperature.moves(eps):
        scaled = temperature.in_its_unit(x, y, h, eps, cost)
        return (eps.unsqueeze(-1) * softmin(*scaled, eps=1.0, cost=cost, backend=backend)).to(x.dtype)
    return softmin_of(x, y, h, eps, cost, backend)


def softmin_of(x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: costs.Cost, backend: str) -> Tensor:
    """`softmin` of tensors of one batch shape that were checked."""
    (x, y, h), dtype = working(x, y, h)
    return cast(_SOFTMIN(x, y, h, constants=eps, summand=cost, backend=backend), dtype)


def softmin_apply(
    x: Any,  # (..., n, d)
    y: Any,  # (..., m, d)
    h: Any,  # (..., m)
    v: Any,  # (..., m, q)
    *,
    eps: float | Tensor,
    cost: CostLike = "sqeuclidean",
    backend: str = "auto",
) -> tuple[Tensor, Tensor]:  # (..., n), (..., n, q)
    """The soft minimum, and in the same pass the averages of v_j under the weights exp((h_j - c_ij) / eps).

    Arguments as in `softmin`, and v (..., m, q), the values to average. The averages are in the units of v.

    Example:
        >>> import torch, howfar
        >>> x, y = torch.zeros(1, 1), torch.tensor([[1.0], [-1.0]])
        >>> howfar.ops.softmin_apply(x, y, torch.zeros(2), y, eps=1.0)[1]
        tensor([[0.]])
    """
    x, y, h, eps, cost = _checked(x, y, h, eps, cost, backend)
    v = _checks.as_tensor(v, "v")
    if v.ndim < 2 or v.shape[-2] != y.shape[-2]:
        raise ShapeError(
            complaint(
                "v",
                f"shape (..., {y.shape[-2]}, q), one row for each point of y",
                f"{tuple(v.shape)}",
                "Pass v of that shape.",
            )
        )
    _checks.check_same_kind(x, v, "x", "v")
    _checks.check_finite(v, "v", "Fill it first, or take its point of y out with h = -inf and a value of 0.")
    batch = _checks.check_batch(x.shape[:-2], v.shape[:-2], "x", "v")
    x, y, v = (t.expand(*batch, *t.shape[-2:]) for t in (x, y, v))
    h, eps = h.expand(*batch, h.shape[-1]), eps.expand(batch)
    if temperature.moves(eps):
        scaled = temperature.in_its_unit(x, y, h, eps, cost)
        soft, means = softmin_apply(*scaled, v.to(eps.dtype), eps=1.0, cost=cost, backend=backend)
        return (eps.unsqueeze(-1) * soft).to(x.dtype), means.to(x.dtype)
    return softmin_apply_of(x, y, h, v, eps, cost, backend)


def softmin_apply_of(
    x: Tensor, y: Tensor, h: Tensor, v: Tensor, eps: Tensor, cost: costs.Cost, backend: str
) -> tuple[Tensor, Tensor]:
    """`softmin_apply` of tensors of one batch shape that were checked."""
    (x, y, h, v), dtype = working(x, y, h, v)
    out = _SOFTMIN_APPLY(x, y, h, v, constants=eps, summand=cost, backend=backend).to(dtype)
    return out[..., 0], out[..., 1:]


def softmin_cost(
    x: Tensor, y: Tensor, h: Tensor, *, eps: float | Tensor, cost: CostLike = "sqeuclidean", backend: str = "auto"
) -> Tensor:  # (..., n)
    """The average of the cost c_ij itself under the weights exp((h_j - c_ij) / eps); arguments as in `softmin`."""
    x, y, h, eps, cost = _checked(x, y, h, eps, cost, backend)
    if temperature.moves(eps):
        scaled = temperature.in_its_unit(x, y, h, eps, cost)
        return (eps.unsqueeze(-1) * softmin_cost(*scaled, eps=1.0, cost=cost, backend=backend)).to(x.dtype)
    return softmin_cost_of(x, y, h, eps, cost, backend)


def softmin_cost_of(x: Tensor, y: Tensor, h: Tensor, eps: Tensor, cost: costs.Cost, backend: str) -> Tensor:
    """`softmin_cost` of tensors of one batch shape that were checked."""
    (x, y, h), dtype = working(x, y, h)
    return _SOFTMIN_COST(x, y, h, constants=eps, summand=cost, backend=backend).to(dtype)


_SOFTMIN = Reduction(
    Formula(
        "softmin",
        ("x", "y", "h"),
        "eps",
        "cost",
        axis=-1,
        shape=lambda inputs, _cost: inputs[0].shape[:-1],
        rows=lambda x, y, h, eps, cost: reference.softmin(x, y, h, eps.to(x.dtype), cost),
        why=cpu.why_unavailable,
        forward=cpu.forward,
        gradient=lambda wanted, grad, inputs, kept, eps, cost: cpu.gradient(wanted, grad, inputs, kept, eps, cost),
        keeps=True,
    )
)
_SOFTMIN_APPLY = Reduction(
    Formula(
        "softmin_apply",
        ("x", "y", "h", "v"),
        "eps",
        "cost",
        axis=-2,
        shape=lambda inputs, _cost: (*inputs[0].shape[:-1], 1 + inputs[3].shape[-1]),
        rows=lambda x, y, h, v, eps, cost: reference.softmin_apply(x, y, h, v, eps.to(x.dtype), cost),
        why=cpu.why_unavailable,
        forward=lambda _keep, *arguments: (cpu.softmin_apply(*arguments), ()),
        gradient=lambda wanted, grad, inputs, _kept, eps, cost: cpu.gradient_apply(wanted, grad, inputs, eps, cost),
    )
)
_SOFTMIN_COST = Reduction(
    Formula(
        "softmin_cost",
        ("x", "y", "h"),
        "eps",
        "cost",
        axis=-1,
        shape=lambda inputs, _cost: inputs[0].shape[:-1],
        rows=lambda x, y, h, eps, cost: reference.softmin_cost(x, y, h, eps.to(x.dtype), cost),
        why=cpu.why_unavailable,
        forward=lambda _keep, *arguments: (cpu.softmin_cost(*arguments), ()),
        gradient=lambda wanted, grad, inputs, _kept, eps, cost: cpu.gradient_cost(wanted, grad, inputs, eps, cost),
    )
)


def _ragged(x: Any, y: Any, h: Any, eps: float | Tensor, cost: CostLike, backend: str, offsets: Any) -> Tensor:
    x, y = _checks.check_points(x, "x", finite=False), _checks.check_points(y, "y", finite=False)
    _checks.check_same_space(x, y)
    ground = costs.resolve(cost)
    _checks.check_distances(x, y, ground.highest_power)
    offsets = ragged.check_offsets(offsets, x, y)
    h = _checks.check_potential(h, "h", x, y)
    if h.ndim != 1:
        fix = "Concatenate the potentials: torch.cat(potentials)."
        raise ShapeError(complaint("h", f"shape ({len(y)},) beside offsets", f"{tuple(h.shape)}", fix))
    ragged.check_each_has_one(h, offsets)
    eps = check_eps(eps, torch.Size([len(offsets[0]) - 1]), x)
    (x, y, h), dtype = working(x, y, h)
    native = None
    if _chosen(backend, ground, x, y, h) == "cpu" and not temperature.moves(eps):
        keep = 1 + x.shape[-1] if torch.is_grad_enabled() and any(t.requires_grad for t in (x, y, h)) else 0
        kept: list[Tensor] = []

        def value(x: Tensor, y: Tensor, h: Tensor) -> Tensor:
            out, kept[:] = cpu.forward(keep, x, y, h, eps, ground, offsets)
            return out

        gradient = lambda wanted, grad, out, *inputs: cpu.gradient(
            tuple(wanted), grad, inputs, (out, *kept), eps, ground, offsets
        )
        native = value, gradient
    each = lambda b, x, y, h: softmin(x, y, h, eps=eps[b], cost=ground, backend=backend)
    return ragged.solve(each, offsets, x, y, h, native=native).to(dtype)


def _chosen(backend: str, cost: costs.Cost, *tensors: Tensor) -> str:
    return backends.choose(backend, "softmin", tensors[0].device, lambda: cpu.why_unavailable(cost, *tensors))


def _checked(
    x: Any, y: Any, h: Any, eps: float | Tensor, cost: CostLike, backend: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, costs.Cost]:
    x, y = _checks.check_points(x, "x", finite=False), _checks.check_points(y, "y", finite=False)
    shared = _checks.check_same_space(x, y)
    ground = costs.resolve(cost)
    _checks.check_distances(x, y, ground.highest_power)
    h = _checks.check_potential(h, "h", x, y)
    batch = _checks.check_batch(shared, h.shape[:-1], "x", "h")
    _checks.check_choice(backend, "backend", backends.BACKENDS)
    strength = check_eps(eps, batch, x)
    if batch:
        x, y, h = x.expand(*batch, *x.shape[-2:]), y.expand(*batch, *y.shape[-2:]), h.expand(*batch, h.shape[-1])
    return x, y, h, strength, ground


def check_eps(eps: float | Tensor, batch: torch.Size, like: Tensor) -> Tensor:
    """A positive temperature for each batch element (...), in at least float32."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    if isinstance(eps, Tensor):
        strength = eps.to(like.device)
        _checks.check_finite(strength, "eps", "Pass finite temperatures.")
        least = None if _checks.unseen(strength) else strength.detach().min().item()
    else:
        least = _checks.check_positive(eps, "eps", unit="in units of the cost")
        if least > torch.finfo(dtype).max:
            bound = f"a number <= {torch.finfo(dtype).max:.3g}, for {dtype}"
            raise DomainError(complaint("eps", bound, f"{least:g}", "Rescale the points, or pass float64."))
        strength = torch.full((), least, dtype=dtype, device=like.device)
    if least is not None and least < torch.finfo(dtype).tiny:
        fix = "Pass a larger eps." if least <= 0 or dtype is torch.float64 else "Pass a larger eps, or float64 points."
        bound = "0 (in units of the cost)" if least <= 0 else f"{torch.finfo(dtype).tiny:.3g}, for {dtype}"
        raise DomainError(complaint("eps", f"a number > {bound}", f"{least:g}", fix))
    try:
        strength = cast(strength, dtype)
        return strength if strength.shape == batch else strength.expand(batch)
    except RuntimeError:
        raise ShapeError(
            complaint(
                "eps",
                f"a number or shape {tuple(batch)}, one for each batch element",
                f"shape {tuple(strength.shape)}",
                "Pass one temperature, or one for each batch element.",
            )
        ) from None
