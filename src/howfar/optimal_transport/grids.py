"""Transport between images and volumes: the same solvers on a geometry that is a sum over axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from howfar import _checks, costs
from howfar._errors import DomainError, ShapeError, complaint
from howfar.geometry import Grid
from howfar.geometry.grid import SEPARABLE
from howfar.optimal_transport import solve
from howfar.optimal_transport.debiasing import debiased
from howfar.optimal_transport.problem import LinearProblem
from howfar.optimal_transport.result import OTResult
from howfar.optimal_transport.sinkhorn import Sinkhorn


def transport_grid(
    a: Any,
    b: Any,
    *,
    dims: int = 2,
    spacing: float | Sequence[float] = 1.0,
    cost: str | costs.Cost = "sqeuclidean",
    eps: float | Tensor | str | None = None,
    blur: float | None = None,
    reach: solve.Reach = None,
    penalty: str = "kl",
    accuracy: float | None = None,
    tol: float | None = None,
    max_iter: int = 2000,
    init: OTResult | None = None,
    backend: str = "auto",
) -> OTResult:
    """`transport` between two images or volumes: weights a and b on one regular grid.

    The cost is a sum over axes, so a soft minimum over n pixels takes one axis after the other: O(n^(1 + 1/D))
    instead of O(n^2), in linear memory. Equal to `transport` on the flattened grid, last axis quickest. Without
    `eps`, `blur` and `accuracy` the transport is exact, as there, and not cheaper.

    Args:
        a: mass of each pixel (..., H, W), (..., H, W, D) with dims=3, or (..., n) with dims=1; the sum over the grid
            is one unless `reach` is given. Other axes are batch axes.
        b: the same on the same grid.
        dims: how many of the last axes are the grid.
        spacing: the distance of neighbouring pixels, in units of the data; a number, or one for each axis.
        cost: "sqeuclidean" or "cityblock".
        eps: entropic strength in units of the cost; "auto" is 5 % of the mean cost.
        blur: eps ** (1 / p) in units of the data, p the degree of the cost; instead of eps.
        reach: the distance, in units of the data, beyond which mass is rather destroyed than moved; a pair gives
            one for a and one for b, where None keeps that marginal hard.
        penalty: "kl" or "tv", on soft marginals, as in `transport`.
        accuracy: instead of eps: lower eps until the certified bounds differ by less than this share, and solve
            exactly where no temperature that the dtype holds proves it.
        tol: stop at this marginal error, relative to the mass; 1e-6 in float64 and 1e-4 in float32 when left out.
        max_iter: most iterations.
        init: a former result on the same grid, to start from.
        backend: passed to the ops.

    Returns:
        An `OTResult` on the flattened grids; `map()` gives the mean coordinates (..., n, D) to which a pixel goes.

    Example:
        >>> import torch, howfar
        >>> a, b = torch.zeros(8, 8), torch.zeros(8, 8)
        >>> a[1, 1] = b[4, 5] = 1.0
        >>> howfar.transport_grid(a, b, eps=0.1).value
        tensor(25.)
    """
    _checks.refuse_transforms("transport_grid")
    geometry, left, right = _on_grid(a, b, dims, spacing, cost, backend, normalised=not solve.is_soft(reach))
    solver = Sinkhorn(tol=tol, max_iter=max_iter)
    soft = solve.marginals(reach, penalty, geometry)
    return solve.solved(geometry, left, right, eps, blur, soft, accuracy, solver, init)


def sinkhorn_divergence_grid(
    a: Any,
    b: Any,
    *,
    dims: int = 2,
    spacing: float | Sequence[float] = 1.0,
    cost: str | costs.Cost = "sqeuclidean",
    eps: float | Tensor | str | None = None,
    blur: float | None = None,
    reach: solve.Reach = None,
    penalty: str = "kl",
    tol: float | None = None,
    max_iter: int = 2000,
    backend: str = "auto",
) -> Tensor:  # (...)
    """`sinkhorn_divergence` between two images or volumes, in units of the cost; differentiable twice in a, b and eps.

    Arguments as in `transport_grid`, one of eps and blur is needed.

    Example:
        >>> import torch, howfar
        >>> a, b = torch.zeros(8, 8), torch.zeros(8, 8)
        >>> a[1, 1:3] = b[4, 5:7] = 0.5
        >>> howfar.sinkhorn_divergence_grid(a, b, blur=1.0)
        tensor(25.)
    """
    _checks.refuse_transforms("sinkhorn_divergence_grid")
    geometry, left, right = _on_grid(a, b, dims, spacing, cost, backend, normalised=not solve.is_soft(reach))
    strength = solve.required_temperature(eps, blur, geometry, left, right)
    soft = solve.alike(solve.marginals(reach, penalty, geometry))
    across = LinearProblem(geometry, left, right, strength, soft)
    x, y = (LinearProblem(geometry, w, w, strength, soft, symmetric=True) for w in (left, right))
    return debiased(across, x, y, Sinkhorn(tol=tol, max_iter=max_iter), "sinkhorn_divergence_grid")[0]


def _on_grid(
    a: Any, b: Any, dims: Any, spacing: Any, cost: Any, backend: str, *, normalised: bool
) -> tuple[Grid, Tensor, Tensor]:
    """(geometry, weights (..., n), weights (..., n))."""
    dims = _checks.check_count(dims, "dims")
    left, right = _image(a, "a", dims), _image(b, "b", dims)
    sizes = left.shape[-dims:]
    if right.shape[-dims:] != sizes:
        raise ShapeError(
            complaint(
                "b",
                f"the grid of a, {tuple(sizes)}",
                f"{tuple(right.shape[-dims:])}",
                "Resample one image, or use transport on the coordinates of the pixels.",
            )
        )
    _checks.check_same_kind(left, right, "a", "b")
    batch = _checks.check_batch(left.shape[:-dims], right.shape[:-dims], "a", "b")
    weights = []
    for image, name in ((left, "a"), (right, "b")):
        flat = image.flatten(-dims).to(torch.promote_types(image.dtype, torch.float32))
        _checks.check_distribution(flat, name, normalised=normalised)
        weights.append(flat.expand(*batch, -1))
    ground = costs.resolve(cost)
    if not isinstance(ground, SEPARABLE):
        names = " or ".join(repr(kind.name) for kind in SEPARABLE)
        raise DomainError(
            complaint("cost", names, repr(ground.name), "Use transport on the coordinates of the pixels.")
        )
    steps = zip(sizes, _spacings(spacing, dims), strict=True)
    axes = tuple(
        (step * torch.arange(size, device=left.device, dtype=weights[0].dtype)).unsqueeze(-1).expand(*batch, size, 1)
        for size, step in steps
    )
    return Grid(axes, axes, ground, backend), weights[0], weights[1]


def _image(value: Any, name: str, dims: int) -> Tensor:
    image = _checks.as_tensor(value, name)
    if image.ndim < dims or 0 in image.shape[-dims:]:
        raise ShapeError(
            complaint(
                name,
                f"an image with {dims} axes at least, none of them empty",
                f"shape {tuple(image.shape)}",
                "Pass dims=1 for histograms, dims=3 for volumes.",
            )
        )
    _checks.check_finite(image, name, "Give a pixel without mass the weight 0.")
    return image


def _spacings(spacing: Any, dims: int) -> list[float]:
    if not isinstance(spacing, Sequence | Tensor) or isinstance(spacing, str) or getattr(spacing, "ndim", 1) == 0:
        return [_checks.check_positive(spacing, "spacing")] * dims
    steps = [_checks.check_positive(step, "spacing") for step in spacing]
    if len(steps) != dims:
        raise ShapeError(
            complaint("spacing", f"{dims} numbers, one for each axis", str(len(steps)), "Pass one number for all.")
        )
    return steps
