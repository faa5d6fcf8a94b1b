"""What is to be solved: a geometry, two weightings, a temperature and what a violated marginal costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from howfar.geometry import Geometry


@dataclass(frozen=True)
class LinearProblem:
    """min_P <P, C> + eps KL(P | a b^T) + rho KL(P 1 | a) + rho KL(P^T 1 | b), with hard marginals when rho is None.

    Attributes:
        geometry: the cost.
        a: weights (..., n).
        b: weights (..., m).
        eps: temperature (...), in units of the cost; 0 asks for the exact, unregularised problem.
        rho: weight of the marginal penalties, in units of the cost, or None.
        symmetric: whether both sides are one measure under a symmetric cost, so that f = g.
    """

    geometry: Geometry
    a: Tensor
    b: Tensor
    eps: Tensor
    rho: float | None = None
    symmetric: bool = False

    @cached_property
    def scale(self) -> Tensor:
        """(...) about the largest cost."""
        return self.geometry.scale().to(self.eps)

    def differentiable(self) -> tuple[Tensor, ...]:
        """Everything a derivative may be asked for: (a, b, *tensors of the geometry)."""
        return (self.a, self.b, *self.geometry.tensors())

    def rebuilt(self, a: Tensor, b: Tensor, *tensors: Tensor) -> LinearProblem:
        """The same problem on other weights and points."""
        return replace(self, geometry=self.geometry.rebuilt(*tensors), a=a, b=b)

    def double(self) -> LinearProblem:
        """The same problem in float64; derivatives flow back to what it was made of."""
        wide = replace(self, eps=self.eps.double())
        return wide.rebuilt(*(t.double() for t in self.differentiable()))

    def detached(self) -> LinearProblem:
        """The same problem, cut from the graph."""
        return self.rebuilt(*(t.detach() for t in self.differentiable()))

    def selected(self, elements: Tensor) -> LinearProblem:
        """The elements of the batch where a mask (...) is true, along one batch axis."""
        chosen = replace(self, eps=self.eps[elements])
        return chosen.rebuilt(
            *(t.expand(*self.eps.shape, *t.shape[self.eps.ndim :])[elements] for t in self.differentiable())
        )

    def shifted_x(self, f: Tensor) -> Tensor:
        """h = f + eps log a, the shifted potential of the x side; -inf where a point has no mass."""
        return f + self.eps.unsqueeze(-1) * torch.log(self.a)

    def shifted_y(self, g: Tensor) -> Tensor:
        """h = g + eps log b."""
        return g + self.eps.unsqueeze(-1) * torch.log(self.b)

    def damping(self, eps: Tensor) -> Tensor | float:
        """rho / (rho + eps): how far an unbalanced update goes; 1 when marginals are hard."""
        return 1.0 if self.rho is None else (self.rho / (self.rho + eps)).unsqueeze(-1)
