"""A discrete measure: points and the mass that each carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import ShapeError, complaint

_PLAIN_ORDER = 2.0
"""Up to this order float32 holds the powers of distances in the unit of the points."""


@dataclass(frozen=True)
class Measure:
    """Weighted points: sum_i weights[i] * Dirac(points[i]).

    Attributes:
        points: (..., n, d), in the units of the data.
        weights: (..., n), non-negative; they sum to one unless masses may differ.
        uniform: whether no weights were given, so that each point carries 1 / n.
        sizes: of the clouds of a ragged batch, whose points are followed by points without mass; None elsewhere.
        even: whether no weights were given for such clouds, so that each point of one carries 1 / its size.

    Example:
        >>> import torch, howfar
        >>> howfar.Measure.of(torch.tensor([0.0, 2.0]), a=[0.25, 0.75]).mean()
        tensor([1.5000])
    """

    points: Tensor
    weights: Tensor
    uniform: bool = False
    sizes: tuple[int, ...] | None = None
    even: bool = False

    @classmethod
    def of(cls, x: Any, a: Any = None, *, name: str = "x", weights_name: str = "a", normalised: bool = True) -> Measure:
        """Check points (..., n, d) and weights (..., n), and broadcast their batch axes.

        A list of clouds (n_b, d) is a ragged batch (B,): each is followed by points without mass, which do not exist,
        up to the size of the largest. Its weights are a list of (n_b,), or None.
        """
        if isinstance(x, Measure):
            even = x.even and a is None
            a = x.weights if a is None and not x.uniform else a
            flat = cls.of(x.points, a, name=name, weights_name=weights_name, normalised=normalised)
            return replace(flat, sizes=x.sizes, even=even)
        if _is_list_of_clouds(x):
            return _ragged(x, a, name, weights_name, normalised)
        points = _checks.check_points(x, name)
        n = points.shape[-2]
        if a is None:
            return cls(points, points.new_full((), 1 / n).expand(points.shape[:-1]), uniform=True)
        weights = _checks.check_weights(a, weights_name, points, name, normalised=normalised)
        batch = torch.broadcast_shapes(points.shape[:-2], weights.shape[:-1])
        return cls(points.expand(*batch, *points.shape[-2:]), weights.expand(*batch, n))

    def __repr__(self) -> str:
        batch = f", batch {tuple(self.batch)}" if self.batch else ""
        weights = "" if self.uniform or self.even else ", weighted"
        of = self.points
        return f"<Measure of {self.n} points in {self.d} dimensions{batch}{weights}, {of.dtype} on {of.device}>"

    @property
    def n(self) -> int:
        """How many points."""
        return self.points.shape[-2]

    @property
    def d(self) -> int:
        """How many features."""
        return self.points.shape[-1]

    @property
    def batch(self) -> torch.Size:
        """The batch axes."""
        return self.points.shape[:-2]

    def counts(self) -> Tensor:
        """How many points there are (...), those that fill up a ragged batch left out."""
        return self.points.new_tensor(self.n if self.sizes is None else self.sizes)

    def mass(self) -> Tensor:
        """Total mass (...)."""
        return self.weights.sum(-1)

    def mean(self) -> Tensor:
        """Barycentre (..., d), in the units of the data."""
        return (self.weights.unsqueeze(-1) * self.points).sum(-2) / self.mass().unsqueeze(-1)

    def expand(self, batch: torch.Size) -> Measure:
        """The same measure with the batch axes broadcast to `batch`."""
        points, weights = self.points.expand(*batch, self.n, self.d), self.weights.expand(*batch, self.n)
        return replace(self, points=points, weights=weights)

    def to(self, dtype: torch.dtype) -> Measure:
        """The same measure in another dtype; uniform weights are those of that dtype, not rounded by this one."""
        if dtype == self.points.dtype:
            return self
        weights = self.weights.to(dtype)
        if self.uniform:
            weights = weights.new_full((), 1 / self.n).expand(weights.shape)
        elif self.even and self.sizes is not None:
            weights = _even_weights(self.sizes, self.points.to(dtype)).expand(weights.shape)
        return replace(self, points=self.points.to(dtype), weights=weights)


def centred(x: Measure, y: Measure) -> tuple[Measure, Measure]:
    """Both measures moved by the negative of their common centre, a constant.

    No distance changes; but small coordinates keep in sums and products the digits that an offset would take.
    """
    centre = 0.5 * (x.points.detach().mean(-2, keepdim=True) + y.points.detach().mean(-2, keepdim=True))
    return replace(x, points=x.points - centre), replace(y, points=y.points - centre)


def in_their_unit(x: Measure, y: Measure, p: float) -> tuple[Measure, Measure, Tensor]:
    """Both measures divided by their extent, a power of two, which rounds nothing, and that extent (...).

    For orders above 2 they are in float64 where the device has it.
    """
    if p > _PLAIN_ORDER and x.points.device.type != "mps":
        x, y = x.to(torch.float64), y.to(torch.float64)
    unit = _extent(x.points.detach(), y.points.detach())
    x, y = (replace(m, points=m.points / unit[..., None, None]) for m in (x, y))
    return x, y, unit


def _extent(x: Tensor, y: Tensor) -> Tensor:
    most = torch.maximum(x.amax(-2), y.amax(-2))
    least = torch.minimum(x.amin(-2), y.amin(-2))
    # Halves, as the difference of the two largest numbers would overflow.
    extent = (0.5 * most - 0.5 * least).amax(-1)
    return torch.where(extent > 0, torch.exp2(torch.floor(torch.log2(extent))), 1)


def _is_list_of_clouds(x: Any) -> bool:
    return isinstance(x, list | tuple) and any(getattr(cloud, "ndim", 0) == 2 for cloud in x)


def _ragged(x: Sequence[Any], a: Any, name: str, weights_name: str, normalised: bool) -> Measure:
    clouds = [_checks.check_points(cloud, f"{name}[{b}]") for b, cloud in enumerate(x)]
    for b, cloud in enumerate(clouds):
        if cloud.ndim != 2:
            got, fix = f"shape {tuple(cloud.shape)}", "Pass one cloud for each problem of the batch."
            raise ShapeError(complaint(f"{name}[{b}]", "points of shape (n, d) in a list of clouds", got, fix))
        _checks.check_same_space(clouds[0], cloud, f"{name}[0]", f"{name}[{b}]")
    sizes = tuple(len(cloud) for cloud in clouds)
    if a is not None and not (isinstance(a, list | tuple) and len(a) == len(clouds)):
        got = f"a list of {len(a)}" if isinstance(a, list | tuple) else f"a {type(a).__name__}"
        expected = f"a list of {len(clouds)} weightings, one for each cloud of {name}"
        raise ShapeError(complaint(weights_name, expected, got, "Pass [a1, a2, ...], None for a uniform one."))
    given = [None] * len(clouds) if a is None else a
    largest = max(sizes)
    points, weights = [], []
    for b, (cloud, own) in enumerate(zip(clouds, given, strict=True)):
        mass = cloud.new_full((len(cloud),), 1 / len(cloud))
        if own is not None:
            mass = _checks.check_weights(own, f"{weights_name}[{b}]", cloud, f"{name}[{b}]", normalised=normalised)
        missing = largest - len(cloud)
        # Of a point that is there, so that neither the extent nor the largest cost changes.
        points.append(torch.cat([cloud, cloud[:1].detach().expand(missing, -1)]))
        weights.append(torch.cat([mass, mass.new_zeros(missing)]))
    if min(sizes) == largest:
        return Measure(torch.stack(points), torch.stack(weights), uniform=a is None)
    return Measure(torch.stack(points), torch.stack(weights), sizes=sizes, even=a is None)


def _even_weights(sizes: tuple[int, ...], points: Tensor) -> Tensor:
    counts = torch.tensor(sizes, device=points.device).unsqueeze(-1)
    there = torch.arange(points.shape[-2], device=points.device) < counts
    return there.to(points.dtype) / counts.to(points.dtype)


def measures(x: Any, y: Any, a: Any = None, b: Any = None, *, normalised: bool = True) -> tuple[Measure, Measure]:
    """Two measures on one space with one batch shape: the front door of every distance."""
    first = Measure.of(x, a, name="x", weights_name="a", normalised=normalised)
    second = Measure.of(y, b, name="y", weights_name="b", normalised=normalised)
    _checks.check_same_space(first.points, second.points)
    batch = _checks.check_batch(first.batch, second.batch, "x", "y")
    return first.expand(batch), second.expand(batch)
