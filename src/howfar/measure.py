"""A discrete measure: points and the mass that each carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar import _checks


@dataclass(frozen=True)
class Measure:
    """Weighted points: sum_i weights[i] * Dirac(points[i]).

    Attributes:
        points: (..., n, d), in the units of the data.
        weights: (..., n), non-negative; they sum to one unless masses may differ.
        uniform: whether no weights were given, so that each point carries 1 / n.

    Example:
        >>> import torch, howfar
        >>> howfar.Measure.of(torch.tensor([0.0, 2.0]), a=[0.25, 0.75]).mean()
        tensor([1.5000])
    """

    points: Tensor
    weights: Tensor
    uniform: bool = False

    @classmethod
    def of(cls, x: Any, a: Any = None, *, name: str = "x", weights_name: str = "a", normalised: bool = True) -> Measure:
        """Check points (..., n, d) and weights (..., n), and broadcast their batch axes."""
        if isinstance(x, Measure):
            a = x.weights if a is None and not x.uniform else a
            return cls.of(x.points, a, name=name, weights_name=weights_name, normalised=normalised)
        points = _checks.check_points(x, name)
        n = points.shape[-2]
        if a is None:
            return cls(points, points.new_full((), 1 / n).expand(points.shape[:-1]), uniform=True)
        weights = _checks.check_weights(a, weights_name, points, name, normalised=normalised)
        batch = torch.broadcast_shapes(points.shape[:-2], weights.shape[:-1])
        return cls(points.expand(*batch, *points.shape[-2:]), weights.expand(*batch, n))

    def __repr__(self) -> str:
        batch = f", batch {tuple(self.batch)}" if self.batch else ""
        weights = "" if self.uniform else ", weighted"
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

    def mass(self) -> Tensor:
        """Total mass (...)."""
        return self.weights.sum(-1)

    def mean(self) -> Tensor:
        """Barycentre (..., d), in the units of the data."""
        return (self.weights.unsqueeze(-1) * self.points).sum(-2) / self.mass().unsqueeze(-1)

    def expand(self, batch: torch.Size) -> Measure:
        """The same measure with the batch axes broadcast to `batch`."""
        return Measure(
            self.points.expand(*batch, self.n, self.d), self.weights.expand(*batch, self.n), uniform=self.uniform
        )

    def to(self, dtype: torch.dtype) -> Measure:
        """The same measure in another dtype; uniform weights are those of that dtype, not rounded by this one."""
        if dtype == self.points.dtype:
            return self
        weights = self.weights.to(dtype)
        if self.uniform:
            weights = weights.new_full((), 1 / self.n).expand(weights.shape)
        return Measure(self.points.to(dtype), weights, self.uniform)


def centred(x: Measure, y: Measure) -> tuple[Measure, Measure]:
    """Both measures moved by the negative of their common centre, a constant.

    No distance changes; but small coordinates keep in sums and products the digits that an offset would take.
    """
    centre = 0.5 * (x.points.detach().mean(-2, keepdim=True) + y.points.detach().mean(-2, keepdim=True))
    return Measure(x.points - centre, x.weights, x.uniform), Measure(y.points - centre, y.weights, y.uniform)


def measures(x: Any, y: Any, a: Any = None, b: Any = None, *, normalised: bool = True) -> tuple[Measure, Measure]:
    """Two measures on one space with one batch shape: the front door of every distance."""
    first = Measure.of(x, a, name="x", weights_name="a", normalised=normalised)
    second = Measure.of(y, b, name="y", weights_name="b", normalised=normalised)
    _checks.check_same_space(first.points, second.points)
    batch = _checks.check_batch(first.batch, second.batch, "x", "y")
    return first.expand(batch), second.expand(batch)
