"""The contract of the nearest neighbours: checks, backend, derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from howfar import _checks, costs
from howfar._errors import ShapeError, complaint
from howfar.ops import backends, library, ragged, spelling, streaming
from howfar.ops.nearest_neighbors import cpu, reference
from howfar.ops.precision import cast, without_autocast, working


def nearest(
    x: Any,  # (..., n, d)
    y: Any,  # (..., m, d)
    h: Any = None,  # (..., m)   in units of the cost
    *,
    k: int = 1,
    cost: str | costs.Cost | Callable[[Tensor, Tensor], Tensor] = "sqeuclidean",
    backend: str = "auto",
    offsets: tuple[Any, Any] | None = None,
) -> tuple[Tensor, Tensor]:  # (..., n, k), (..., n, k)
    """The k smallest c(x_i, y_j) - h_j of each row in rising order, and their indices j.

    With k = 1 the values are the c-transform of h. Ties go to the smaller index. Linear memory; the values are
    differentiable in x, y and h at the indices found.

    Args:
        x: points (..., n, d).
        y: points (..., m, d).
        h: potentials (..., m), in units of the cost; zero when left out; -inf removes a point.
        k: how many, at most m.
        cost: a name, an object of `howfar.costs`, or a callable.
        backend: "auto", "reference", "cpu" or "triton"; an explicit name never falls back.
        offsets: (x_offsets, y_offsets) of a ragged batch, as in `softmin`; indices count from the start of y.

    Raises:
        ShapeError: shapes that do not fit, k > m.
        DomainError: non-finite points, NaN or +inf in h, k < 1.
        BackendUnavailable: the named backend cannot run here.

    Example:
        >>> import torch, howfar
        >>> howfar.ops.nearest(torch.tensor([[0.0]]), torch.tensor([[3.0], [1.0]]))
        (tensor([[1.]]), tensor([[1]]))
    """
    if offsets is not None:
        return _ragged(x, y, h, k, cost, backend, offsets)
    x, y = _checks.check_points(x, "x", finite=False), _checks.check_points(y, "y", finite=False)
    batch = _checks.check_same_space(x, y)
    cost = costs.resolve(cost)
    _checks.check_distances(x, y, cost.highest_power)
    m = y.shape[-2]
    k = _checks.check_count(k, "k")
    if k > m:
        raise ShapeError(complaint("k", f"at most {m}, the number of points of y", str(k), "Pass a smaller k."))
    if h is not None:
        h = _checks.check_potential(h, "h", x, y)
    if h is not None:
        batch = _checks.check_batch(batch, h.shape[:-1], "x", "h")
    _checks.check_choice(backend, "backend", backends.BACKENDS)
    if batch:
        h = None if h is None else h.expand(*batch, m)
        x, y = x.expand(*batch, *x.shape[-2:]), y.expand(*batch, *y.shape[-2:])
    return nearest_of(x, y, h, k, cost, backend)


def nearest_of(x: Tensor, y: Tensor, h: Tensor | None, k: int, cost: costs.Cost, backend: str) -> tuple[Tensor, Tensor]:
    """`nearest` of tensors of one batch shape that were checked."""
    dtype = x.dtype
    if h is None:
        (x, y), _ = working(x, y)
    else:
        (x, y, h), _ = working(x, y, h)
    text = spelling.spell(cost, [])
    if text is not None and library.unwatched((x, y) if h is None else (x, y, h)):
        values, indices = _found(x, y, h, k, cost, backend)
        return cast(values, dtype), indices
    transformed = torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0
    if text is not None and not transformed:
        values, indices = _NEAREST(x, y, h, k, text, backend)
        return values.to(dtype), indices
    constants = (x.detach(), y.detach(), None if h is None else h.detach())
    values, indices = (
        _NEAREST(*constants, k, text, backend) if text is not None else _found(*constants, k, cost, backend)
    )
    if transformed or (torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, y, h))):
        with without_autocast(x.device):
            values = reference.reduced_costs(x, y, h, indices, cost)
    return values.to(dtype), indices


def _found(x: Tensor, y: Tensor, h: Tensor | None, k: int, cost: costs.Cost, backend: str) -> tuple[Tensor, Tensor]:
    tensors = (x, y) if h is None else (x, y, h)
    with without_autocast(x.device):
        if backends.choose(backend, "nearest", x.device, lambda: cpu.why_unavailable(cost, k, *tensors)) == "cpu":
            return cpu.nearest(x, y, h, k, cost)
        return _blocks(x, y, h, k, cost)


def _ragged(x: Any, y: Any, h: Any, k: int, cost: Any, backend: str, offsets: Any) -> tuple[Tensor, Tensor]:
    x, y = _checks.check_points(x, "x", finite=False), _checks.check_points(y, "y", finite=False)
    _checks.check_same_space(x, y)
    ground = costs.resolve(cost)
    _checks.check_distances(x, y, ground.highest_power)
    offsets = ragged.check_offsets(offsets, x, y)
    k = _checks.check_count(k, "k")
    fewest = int(offsets[1].diff().min())
    if k > fewest:
        raise ShapeError(
            complaint("k", f"at most {fewest}, the fewest points of y in a problem", str(k), "Pass a smaller k.")
        )
    flat = h is None
    h = x.new_zeros(len(y)) if h is None else _checks.check_potential(h, "h", x, y)
    if h.ndim != 1:
        fix = "Concatenate the potentials: torch.cat(potentials)."
        raise ShapeError(complaint("h", f"shape ({len(y)},) beside offsets", f"{tuple(h.shape)}", fix))
    ragged.check_each_has_one(h, offsets)
    (x, y, h), dtype = working(x, y, h)
    reason = lambda: cpu.why_unavailable(ground, k, x, y, h)
    if backends.choose(backend, "nearest", x.device, reason) == "cpu":
        values, indices = cpu.nearest(x.detach(), y.detach(), None if flat else h.detach(), k, ground, offsets)
        indices = indices + offsets[1][:-1].repeat_interleave(offsets[0].diff()).unsqueeze(-1)
        if torch.is_grad_enabled() and any(t.requires_grad for t in (x, y, h)):
            reduced = reference.reduced_costs(x, y, h, indices, ground)
            values = values + torch.where(torch.isfinite(reduced), reduced - reduced.detach(), 0)
        return values.to(dtype), indices
    found: list[Tensor] = []

    def each(b: int, x: Tensor, y: Tensor, h: Tensor) -> Tensor:
        values, indices = nearest(x, y, h, k=k, cost=ground, backend=backend)
        found.append(indices + offsets[1][b].item())
        return values

    values = ragged.solve(each, offsets, x, y, h)
    return values.to(dtype), torch.cat(found)


@torch.no_grad()
def _blocks(x: Tensor, y: Tensor, h: Tensor | None, k: int, cost: costs.Cost) -> tuple[Tensor, Tensor]:
    blocks = streaming.cut((x, y))
    if _checks.transformed():
        # A buffer would not have the axes of the transform.
        parts = [reference.nearest(x[..., s, :], y, h, k, cost) for s in blocks]
        return torch.cat([v for v, _ in parts], -2), torch.cat([i for _, i in parts], -2)
    shape = (*x.shape[:-1], k)
    values, indices = x.new_empty(shape), torch.empty(shape, dtype=torch.int64, device=x.device)
    for s in blocks:
        values[..., s, :], indices[..., s, :] = reference.nearest(x[..., s, :], y, h, k, cost)
    return values, indices


def _call(x: Tensor, y: Tensor, h: Tensor | None, k: int, text: str, backend: str) -> tuple[Tensor, Tensor]:
    return _found(x, y, h, k, spelling.read(text), backend)  # type: ignore[arg-type]


def _shape(x: Tensor, y: Tensor, h: Tensor | None, k: int, *_: str) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    shape = (*x.shape[:-1], k)
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.int64)


def _remember(ctx: Any, arguments: tuple[Any, ...], result: Any) -> None:
    *inputs, _, ctx.text, _ = arguments
    ctx.mark_non_differentiable(result[1])
    ctx.save_for_backward(*inputs, result[1])


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    """The derivative at the indices found, in a graph of these few pairs: it has derivatives of every order."""
    x, y, h, indices = ctx.saved_tensors
    needed, further = ctx.needs_input_grad[1:4], torch.is_grad_enabled()
    with torch.enable_grad(), without_autocast(grad.device):
        # Views, so that a tensor that stands for two arguments has a derivative in each.
        x, y, h = views = [None if t is None else t.view_as(t) for t in (x, y, h)]
        reduced = reference.reduced_costs(x, y, h, indices, spelling.read(ctx.text))  # type: ignore[arg-type]
        wanted = [t for t, asked in zip(views, needed, strict=True) if asked and t is not None]
        grads = iter(torch.autograd.grad(reduced, wanted, grad, create_graph=further, allow_unused=True))
    return (*(next(grads) if asked else None for asked in needed), None, None, None)


_NEAREST = library.define(
    "nearest(Tensor x, Tensor y, Tensor? h, int k, str cost, str backend) -> (Tensor, Tensor)",
    _call,
    _shape,
    _remember,
    _backward,
)
