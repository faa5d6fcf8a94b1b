"""The contract of the nearest neighbours: checks, backend, derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from howfar import _checks, costs
from howfar._errors import ShapeError, complaint
from howfar.ops import backends, ragged, streaming
from howfar.ops.nearest_neighbors import cpu, reference
from howfar.ops.precision import without_autocast, working


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
    x, y = _checks.check_points(x, "x"), _checks.check_points(y, "y")
    _checks.check_same_space(x, y)
    m = y.shape[-2]
    k = _checks.check_count(k, "k")
    if k > m:
        raise ShapeError(complaint("k", f"at most {m}, the number of points of y", str(k), "Pass a smaller k."))
    flat = h is None
    h = x.new_zeros(m) if h is None else _checks.check_potential(h, "h", x, y)
    batch = _checks.check_batch(_checks.check_batch(x.shape[:-2], y.shape[:-2], "x", "y"), h.shape[:-1], "x", "h")
    _checks.check_choice(backend, "backend", backends.BACKENDS)
    cost = costs.resolve(cost)
    (x, y, h), dtype = working(x.expand(*batch, *x.shape[-2:]), y.expand(*batch, *y.shape[-2:]), h.expand(*batch, m))
    reason = lambda: cpu.why_unavailable(cost, k, x, y, h)
    native = backends.choose(backend, "nearest", x.device, reason) == "cpu"
    with without_autocast(x.device):
        if native:
            values, indices = cpu.nearest(x.detach(), y.detach(), None if flat else h.detach(), k, cost)
        else:
            values, indices = _blocks(x.detach(), y.detach(), h.detach(), k, cost)
        if torch.is_grad_enabled() and any(t.requires_grad for t in (x, y, h)):
            reduced = reference.reduced_costs(x, y, h, indices, cost)
            values = streaming.with_number(reduced, values) if native else reduced
    return values.to(dtype), indices


def _ragged(x: Any, y: Any, h: Any, k: int, cost: Any, backend: str, offsets: Any) -> tuple[Tensor, Tensor]:
    x, y = _checks.check_points(x, "x"), _checks.check_points(y, "y")
    _checks.check_same_space(x, y)
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
    ground = costs.resolve(cost)
    (x, y, h), dtype = working(x, y, h)
    reason = lambda: cpu.why_unavailable(ground, k, x, y, h)
    if backends.choose(backend, "nearest", x.device, reason) == "cpu":
        values, indices = cpu.nearest(x.detach(), y.detach(), None if flat else h.detach(), k, ground, offsets)
        indices = indices + offsets[1][:-1].repeat_interleave(offsets[0].diff()).unsqueeze(-1)
        if torch.is_grad_enabled() and any(t.requires_grad for t in (x, y, h)):
            values = streaming.with_number(reference.reduced_costs(x, y, h, indices, ground), values)
        return values.to(dtype), indices
    found: list[Tensor] = []

    def each(b: int, x: Tensor, y: Tensor, h: Tensor) -> Tensor:
        values, indices = nearest(x, y, h, k=k, cost=ground, backend=backend)
        found.append(indices + offsets[1][b].item())
        return values

    values = ragged.solve(each, offsets, x, y, h)
    return values.to(dtype), torch.cat(found)


@torch.no_grad()
def _blocks(x: Tensor, y: Tensor, h: Tensor, k: int, cost: costs.Cost) -> tuple[Tensor, Tensor]:
    shape = (*x.shape[:-1], k)
    values, indices = x.new_empty(shape), torch.empty(shape, dtype=torch.int64, device=x.device)
    rows = max(1, streaming.BLOCK_ELEMENTS // max(1, x.shape[:-2].numel() * y.shape[-2]))
    for start in range(0, x.shape[-2], rows):
        s = slice(start, start + rows)
        values[..., s, :], indices[..., s, :] = reference.nearest(x[..., s, :], y, h, k, cost)
    return values, indices
