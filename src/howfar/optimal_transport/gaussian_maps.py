"""Transport maps and barycentres of Gaussian fits, in closed form and by Bures' fixed point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import NotConverged, ShapeError, complaint, warn
from howfar.measure import Measure, measures
from howfar.optimal_transport.averaging import weighted_clouds

_RANK = 1e-12
"""Variances below this share of the largest are rounding."""


@dataclass(frozen=True)
class GaussianFit:
    """A normal distribution by its moments.

    Attributes:
        mean: (..., d), in units of the data.
        covariance: (..., d, d), in squared units of the data.
    """

    mean: Tensor
    covariance: Tensor


@dataclass(frozen=True)
class AffineMap:
    """z -> target + (z - source) A, the optimal map between two Gaussians.

    Attributes:
        matrix: A (..., d, d), symmetric and without negative eigenvalue.
        source: (..., d), the mean of x.
        target: (..., d), the mean of y.
    """

    matrix: Tensor
    source: Tensor
    target: Tensor

    def __call__(self, z: Any) -> Tensor:
        """The images (..., k, d) of points z (..., k, d), in units of the data."""
        points = _checks.check_points(z, "z").to(self.matrix)
        _checks.check_same_space(self.source.unsqueeze(-2), points, "x", "z")
        return self.target.unsqueeze(-2) + (points - self.source.unsqueeze(-2)) @ self.matrix


def gaussian_map(x: Any, y: Any, *, a: Any = None, b: Any = None, correction: int = 0) -> AffineMap:
    """The optimal map from the Gaussian fit of x to that of y, for the squared distance.

    z -> m_y + S_x^-1/2 (S_x^1/2 S_y S_x^1/2)^1/2 S_x^-1/2 (z - m_x), with the pseudo-inverse where S_x is singular
    (Dowson & Landau 1982). Its mean squared move is `frechet_distance` where S_x is regular. A constant: no
    derivative.

    Args:
        x: points (..., n, d).
        y: points (..., m, d).
        a: weights (..., n) of x, uniform when left out; they sum to one.
        b: weights (..., m) of y.
        correction: 0 for the covariance of the measure itself, 1 for the sample estimate.

    Returns:
        An `AffineMap`, to be called with points.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> howfar.gaussian_map(x, 3 * x + 1)(torch.tensor([[1.0], [5.0]]))
        tensor([[ 4.],
                [16.]])
    """
    correction = _checks.check_count(correction, "correction", least=0)
    sides = measures(x, y, a, b)
    left, right = (_fit(m, correction, name) for m, name in zip(sides, ("x", "y"), strict=True))
    dtype = torch.promote_types(sides[0].points.dtype, torch.float32)
    return AffineMap(*(t.to(dtype) for t in (_map(left.covariance, right.covariance), left.mean, right.mean)))


def gaussian_barycenter(
    clouds: Sequence[Any],
    weights: Any = None,
    *,
    a: Sequence[Any] | None = None,
    correction: int = 0,
    tol: float = 1e-12,
    max_iter: int = 500,
) -> GaussianFit:
    """The Gaussian G that minimises sum_i weights_i W_2(fit_i, G)^2 over the Gaussian fits of clouds.

    Its mean is the weighted mean of means. Its covariance is the fixed point S = T S T of the mean T of the maps from
    S to each covariance (Alvarez-Esteban et al. 2016); on the line its standard deviation is the mean of theirs. A
    constant: no derivative.

    Args:
        clouds: points (..., n_i, d), one tensor for each cloud.
        weights: how much each cloud counts, one number each; equal when left out; they sum to one.
        a: for each cloud the weights (..., n_i) of its points, or None.
        correction: 0 for the covariance of the measure itself, 1 for the sample estimate.
        tol: stop when the covariance changes by less than this share.
        max_iter: most iterations; where they do not suffice, a warning says so.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[-1.0], [1.0]])
        >>> howfar.gaussian_barycenter([x, 3 * x + 4])
        GaussianFit(mean=tensor([2.]), covariance=tensor([[4.]]))
    """
    correction = _checks.check_count(correction, "correction", least=0)
    tol, max_iter = _checks.check_positive(tol, "tol"), _checks.check_count(max_iter, "max_iter")
    sides, share = weighted_clouds(clouds, weights, a)
    if any(_checks.unseen(side.points) for side in sides):
        _checks.refuse_transforms("gaussian_barycenter")
    fits = [_fit(side, correction, f"clouds[{i}]") for i, side in enumerate(sides)]
    dtype = torch.promote_types(sides[0].points.dtype, torch.float32)
    share = share.to(fits[0].mean)
    mean = sum((s * fit.mean for s, fit in zip(share, fits, strict=True)), torch.zeros_like(fits[0].mean))
    covariance = sum(
        (s * fit.covariance for s, fit in zip(share, fits, strict=True)), torch.zeros_like(fits[0].covariance)
    )
    for _ in range(max_iter):
        maps = [s * _map(covariance, fit.covariance) for s, fit in zip(share, fits, strict=True)]
        together = torch.stack(maps).sum(0)
        moved = together @ covariance @ together
        change = (moved - covariance).norm(dim=(-2, -1))
        covariance = moved
        if bool((change <= tol * covariance.norm(dim=(-2, -1))).all()):
            break
    else:
        warn(
            f"gaussian_barycenter did not converge: it still moved by {change.max().item():.2g} after {max_iter} "
            "iterations. Raise max_iter, or accept a larger tol.",
            NotConverged,
        )
    return GaussianFit(mean.to(dtype), covariance.to(dtype))


@torch.no_grad()
def _fit(measure: Measure, correction: int, name: str) -> GaussianFit:
    counts = measure.counts().double() if measure.points.device.type != "mps" else measure.counts()
    fewest = int(counts.min())
    if fewest <= correction:
        raise ShapeError(
            complaint(
                name, f"more than {correction} points for correction={correction}", str(fewest), "Use correction=0."
            )
        )
    points, weights = measure.points.detach(), measure.weights.detach()
    if points.device.type != "mps":
        points, weights = points.double(), weights.double()
    weights = weights / weights.sum(-1, keepdim=True)
    mean = (weights.unsqueeze(-1) * points).sum(-2)
    spread = points - mean.unsqueeze(-2)
    covariance = (weights.unsqueeze(-1) * spread).mT @ spread * (counts / (counts - correction))[..., None, None]
    return GaussianFit(mean, 0.5 * (covariance + covariance.mT))


def _map(start: Tensor, end: Tensor) -> Tensor:
    """S^-1/2 (S^1/2 E S^1/2)^1/2 S^-1/2."""
    root, inverse = _roots(start)
    middle, _ = _roots(root @ end @ root)
    found = inverse @ middle @ inverse
    return 0.5 * (found + found.mT)


def _roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The square root of a symmetric matrix without negative eigenvalue, and the pseudo-inverse of the root."""
    values, vectors = torch.linalg.eigh(0.5 * (matrix + matrix.mT))
    seen = values > _RANK * values[..., -1:].clamp_min(0)
    root = torch.where(seen, values, 0).sqrt()
    inverse = torch.where(seen, 1 / torch.where(seen, root, 1), 0)
    return (vectors * root.unsqueeze(-2)) @ vectors.mT, (vectors * inverse.unsqueeze(-2)) @ vectors.mT
