"""Directions on the sphere, drawn so that their mean over a function is known as well as can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, ShapeError, complaint

SCHEMES = ("orthogonal", "independent", "quasi-random")
_REPLICATES = 8
"""Quasi-random points are spread in this many independent sets, whose spread tells the error."""
_LARGEST_SPREAD = 3
"""Features up to which an even spread of few points is known, and better than bases."""


@dataclass(frozen=True)
class Directions:
    """Unit vectors in groups that are independent of each other.

    Attributes:
        axes: (L, d).
        groups: the sizes of consecutive groups; empty when the directions were given and nothing is random.
    """

    axes: Tensor
    groups: tuple[int, ...] = ()


def directions_like(points: Tensor, given: Any, count: int, generator: torch.Generator | None) -> Directions:
    """`count` directions for points (..., n, d) by a scheme, or the (L, d) vectors given."""
    d = points.shape[-1]
    _checks.check_generator(generator)
    if not isinstance(given, str):
        axes = _checks.check_points(given, "directions").to(points)
        if axes.ndim != 2 or axes.shape[-1] != d:
            raise ShapeError(
                complaint("directions", f"shape (L, {d})", f"{tuple(axes.shape)}", "Pass one unit vector a row.")
            )
        return Directions(axes)
    scheme = _checks.check_choice(given, "directions", SCHEMES)
    if d == 1:
        return Directions(points.new_ones(1, 1))
    device = points.device if generator is None else generator.device
    like = torch.empty(0, device=device, dtype=None if device.type == "mps" else torch.float64)
    if scheme == "independent":
        axes, groups = _gaussian(count, d, like, generator), (1,) * count
    elif scheme == "orthogonal":
        axes, groups = _orthogonal(count, d, like, generator), _cut(count, d)
    else:
        if d > _LARGEST_SPREAD:
            raise DomainError(
                complaint(
                    "directions",
                    f"at most {_LARGEST_SPREAD} features for 'quasi-random'",
                    f"{d} features",
                    "Use 'orthogonal'.",
                )
            )
        groups = _cut(count, -(-count // _REPLICATES))
        axes = torch.cat([_spread(size, d, like, generator) for size in groups])
    return Directions(axes.to(points), groups)


def _cut(count: int, size: int) -> tuple[int, ...]:
    return tuple(min(size, count - start) for start in range(0, count, size))


def _gaussian(count: int, d: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    drawn = torch.randn(count, d, generator=generator, device=like.device, dtype=like.dtype)
    unit: Tensor = drawn / drawn.norm(dim=-1, keepdim=True)
    return unit


def _orthogonal(count: int, d: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Rows of orthogonal matrices drawn by the Haar measure: each is uniform on the sphere, d of them an orthonormal basis."""
    blocks = -(-count // d)
    drawn = torch.randn(blocks, d, d, generator=generator, device=like.device, dtype=like.dtype)
    basis, triangle = torch.linalg.qr(drawn)
    # Without the signs of the triangle, the basis would not be uniform (Mezzadri 2007).
    basis = basis * torch.where(triangle.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(basis).unsqueeze(-2)
    rows: Tensor = basis.mT.reshape(-1, d)[:count]
    return rows


def _spread(count: int, d: int, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Directions spread evenly over half the circle or sphere, as the other half sees the same, turned at random."""
    place = (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count
    if d == 2:
        angles = torch.pi * (place + torch.rand((), generator=generator, device=like.device, dtype=like.dtype))
        return torch.stack([angles.cos(), angles.sin()], -1)
    # Archimedes: bands of equal height have equal area; the golden angle keeps neighbours apart.
    longitude = torch.pi * (3 - 5**0.5) * torch.arange(count, device=like.device, dtype=like.dtype)
    radius = (1 - place.square()).sqrt()
    axes = torch.stack([radius * longitude.cos(), radius * longitude.sin(), place], -1)
    return axes @ _orthogonal(3, 3, like, generator)
