"""What is to be solved: a geometry, two weightings, a temperature and what a violated marginal costs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from howfar import _checks
from howfar.geometry import Geometry, PointCloud
from howfar.optimal_transport.marginals import HARD, Marginal

_SUMMED = 8
"""Units in the last place that a sum of weights may be away from one."""


def check_digits(geometry: Geometry) -> None:
    """Refuse clouds whose costs are lost to underflow; a temperature, where one is given, tells that they are small."""
    if isinstance(geometry, PointCloud):
        _checks.check_vanishing(geometry.x, geometry.y, geometry.cost.highest_power)


@dataclass(frozen=True)
class LinearProblem:
    """min_P <P, C> + eps KL(P | a b^T), with P 1 = a and P^T 1 = b, or a penalty on either marginal instead.

    Attributes:
        geometry: the cost.
        a: weights (..., n).
        b: weights (..., m).
        eps: temperature (...), in units of the cost; 0 asks for the exact, unregularised problem.
        marginals: the penalties on the marginals a and b.
        symmetric: whether both sides are one measure under a symmetric cost and one penalty, so that f = g.
    """

    geometry: Geometry
    a: Tensor
    b: Tensor
    eps: Tensor
    marginals: tuple[Marginal, Marginal] = (HARD, HARD)
    symmetric: bool = False

    @property
    def balanced(self) -> bool:
        """Whether both marginals are hard: potentials are then defined up to a constant, and bounds hold."""
        return all(marginal.rho is None for marginal in self.marginals)

    @cached_property
    def scale(self) -> Tensor:
        """(...) about the largest cost."""
        return self.geometry.scale().to(self.eps)

    @property
    def settling(self) -> int:
        """Updates at each temperature on the way down to eps."""
        return max(marginal.settling for marginal in self.marginals)

    def differentiable(self) -> tuple[Tensor, ...]:
        """Everything a derivative may be asked for: (a, b, eps, *tensors of the geometry)."""
        return (self.a, self.b, self.eps, *self.geometry.tensors())

    def rebuilt(self, a: Tensor, b: Tensor, eps: Tensor, *tensors: Tensor) -> LinearProblem:
        """The same problem on other weights, temperatures and points."""
        return replace(self, geometry=self.geometry.rebuilt(*tensors), a=a, b=b, eps=eps)

    def double(self) -> LinearProblem:
        """The same problem in float64, of equal masses where only rounding holds them apart; derivatives flow back."""
        wide = self.rebuilt(*(t.double() for t in self.differentiable()))
        if not self.balanced:
            return wide
        ratio = (wide.a.sum(-1, keepdim=True) / wide.b.sum(-1, keepdim=True)).detach()
        rounded = (ratio - 1).abs() < _SUMMED * torch.finfo(self.a.dtype).eps
        return replace(wide, b=wide.b * torch.where(rounded, ratio, 1))

    def detached(self) -> LinearProblem:
        """The same problem, cut from the graph."""
        return self.rebuilt(*(t.detach() for t in self.differentiable()))

    def selected(self, elements: Tensor) -> LinearProblem:
        """The elements of the batch where a mask (...) is true, along one batch axis."""
        batch = self.eps.shape
        return self.rebuilt(*(t.expand((*batch, *t.shape[len(batch) :]))[elements] for t in self.differentiable()))

    def shifted_x(self, f: Tensor) -> Tensor:
        """h = f + eps log a, the shifted potential of the x side; -inf where a point has no mass."""
        return f + self.eps.unsqueeze(-1) * torch.log(self.a)

    def shifted_y(self, g: Tensor) -> Tensor:
        """h = g + eps log b."""
        return g + self.eps.unsqueeze(-1) * torch.log(self.b)

    def density(self, weights: Tensor, potential: Tensor, soft: Tensor) -> Tensor:
        """exp((potential - soft) / eps), the mass of one side of the plan per unit of weight; finite where there is no weight."""
        exponent = (potential - soft) / self.eps.unsqueeze(-1)
        largest = 0.99 * math.log(torch.finfo(exponent.dtype).max)
        return torch.exp(torch.where(weights > 0, exponent, exponent.clamp(max=largest)))

    def updated_x(self, soft: Tensor, eps: Tensor) -> Tensor:
        """The f that is optimal against its soft minimum at temperature eps."""
        return self.marginals[0].update(soft, eps)

    def updated_y(self, soft: Tensor, eps: Tensor) -> Tensor:
        """The g that is optimal against its soft minimum."""
        return self.marginals[1].update(soft, eps)
