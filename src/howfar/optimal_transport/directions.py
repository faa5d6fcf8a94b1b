"""Directions on the sphere, drawn so that their mean over a function is known as well as can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import ShapeError, complaint

SCHEMES = ("orthogonal", "independent", "quasi-random")
_REPLICATES = 16
"""Quasi-random points are spread in this many independent sets, whose spread tells the error."""


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
    """Directions that fill the sphere evenly, as a whole turned at random, so that each is uniform on it."""
    if d == 2:
        shift = torch.rand((), generator=generator, device=like.device, dtype=like.dtype)
        # A direction and its opposite see the same, so half the circle is all there is.
        angles = torch.pi * (torch.arange(count, device=like.device, dtype=like.dtype) + shift) / count
        return torch.stack([angles.cos(), angles.sin()], -1)
    seed = int(torch.randint(2**31, (), generator=generator, device=like.device))
    uniform = torch.quasirandom.SobolEngine(d - 1 if d == 3 else d, scramble=True, seed=seed).draw(
        count, dtype=torch.float64
    )
    if d == 3:
        # Archimedes: height and longitude of a uniform point of the sphere are independent and uniform.
        height, longitude = 2 * uniform[:, 0] - 1, 2 * torch.pi * uniform[:, 1]
        radius = (1 - height.square()).clamp_min(0).sqrt()
        return torch.stack([radius * longitude.cos(), radius * longitude.sin(), height], -1).to(like)
    tiny = torch.finfo(torch.float64).eps
    normal = torch.special.ndtri(uniform.clamp(tiny, 1 - tiny))
    unit: Tensor = normal / normal.norm(dim=-1, keepdim=True)
    return unit.to(like)
