"""What it costs that a marginal of the plan is not the weighting it should be, one side at a time.

Sinkhorn's update of a side is the soft minimum s over the other, followed by an operator of the penalty alone, the
"aprox" of Sejourne, Feydy, Vialard, Trouve & Peyre 2019 (arXiv 1910.12958), the f that maximises r(f) - eps exp((f - s) / eps):

    penalty                      reward r(f) of a potential           update          mass promised, r'(f)
    hard     P 1 = a             f                                    s               1
    "kl"     rho KL(P 1 | a)     rho (1 - exp(-f / rho))              s rho/(rho+eps) exp(-f / rho)
    "tv"     rho |P 1 - a|_1     min(f, rho), where f >= -rho         s in [-rho,rho] 1; [0, 1] at rho, >= 1 at -rho
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["kl", "tv"]
KINDS: tuple[Kind, ...] = ("kl", "tv")
_SETTLING = 30
"""With one update at each temperature, problems at .2 % of the largest cost were seen not to converge in thousands."""
_SHARE = 2 / 3
"""An update multiplies what is wrong by numbers of [-1, 0]; so much of it leaves at most a third of either end."""


@dataclass(frozen=True)
class Marginal:
    """The penalty on one marginal.

    Attributes:
        rho: its weight, in units of the cost; None: the marginal is hard.
        kind: the divergence of the marginal from its weighting, where it is soft.
    """

    rho: float | None = None
    kind: Kind = "kl"

    @property
    def settling(self) -> int:
        """Updates at a temperature before it is lowered: where rewards have slope one, each moves by about eps only."""
        return _SETTLING if self.rho is not None and self.kind == "tv" else 1

    def update(self, soft: Tensor, eps: Tensor) -> Tensor:
        """The potential (..., n) that is optimal against the soft minimum (..., n) at temperature eps (...)."""
        return (self.damping(eps).unsqueeze(-1) * soft).clamp(-self.bound, self.bound) if self.rho is not None else soft

    def damping(self, eps: Tensor) -> Tensor:
        """(...) the factor of an update."""
        return torch.ones_like(eps) if self.rho is None or self.kind == "tv" else self.rho / (self.rho + eps)

    @property
    def bound(self) -> float:
        """How far from 0 an update may be."""
        return self.rho if self.rho is not None and self.kind == "tv" else math.inf

    def towards(self, potential: Tensor, soft: Tensor, eps: Tensor) -> Tensor:
        """Between a potential and its update, where one measure meets itself and a full update would overshoot."""
        if self.kind == "tv":
            # The operator comes last: an average with the bound would reach it in the limit only, and never its slope.
            return self.update(torch.lerp(potential, soft, _SHARE), eps)
        return torch.lerp(potential, self.update(soft, eps), _SHARE)

    def slope(self, potential: Tensor, eps: Tensor) -> Tensor:
        """The derivative of `update` where its result is `potential`, (..., n)."""
        if self.rho is None:
            return torch.ones_like(potential)
        if self.kind == "tv":
            return (potential.abs() < self.rho).to(potential)
        return (self.rho / (self.rho + eps)).unsqueeze(-1).expand_as(potential)

    def reward(self, potential: Tensor) -> Tensor:
        """What a unit of weight earns in the dual at an admitted potential, (..., n)."""
        if self.rho is None or self.kind == "tv":
            return potential
        return -self.rho * torch.expm1(-potential / self.rho)

    def admitted(self, potential: Tensor) -> Tensor:
        """The nearest potential whose reward is finite, and no larger than earns anything."""
        return potential.clamp(-self.rho, self.rho) if self.rho is not None and self.kind == "tv" else potential

    def promised(self, potential: Tensor, soft: Tensor, eps: Tensor) -> Tensor:
        """The mass per unit of weight that a potential promises, (..., n)."""
        if self.rho is None:
            return torch.ones_like(potential)
        if self.kind == "kl":
            return torch.exp(-potential / self.rho)
        # At a bound any mass of an interval is promised; what the update leaves there changes with no jump near it.
        return torch.exp((self.update(soft, eps) - soft) / eps.unsqueeze(-1))


HARD = Marginal()
"""A marginal that has to be met."""
