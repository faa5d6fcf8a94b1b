"""Adversarial objectives and penalties as modules."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from howfar import adversarial
from howfar._errors import unknown_name


class CriticLoss(nn.Module):
    """What the critic minimises: `objective.critic(real=, fake=)` on its scores, high for real.

    Args:
        objective: a name or alias of `howfar.adversarial.OBJECTIVES`, or an objective.
        options: of the objective.

    Example:
        >>> import torch, howfar
        >>> howfar.nn.CriticLoss("hinge")(real=torch.zeros(4), fake=torch.zeros(4))
        tensor(2.)
    """

    def __init__(self, objective: str | adversarial.Objective, **options: Any) -> None:
        """Find the objective."""
        super().__init__()
        self.objective = adversarial.objective(objective, **options)

    def forward(self, *, real: Tensor, fake: Tensor) -> Tensor:
        """A scalar."""
        return self.objective.critic(real=real, fake=fake)


class GeneratorLoss(nn.Module):
    """What the generator minimises: `objective.generator(fake=, real=)` on the critic's scores.

    Args:
        objective: a name or alias of `howfar.adversarial.OBJECTIVES`, or an objective.
        options: of the objective.

    Example:
        >>> import torch, howfar
        >>> howfar.nn.GeneratorLoss("wasserstein")(fake=torch.ones(4))
        tensor(-1.)
    """

    def __init__(self, objective: str | adversarial.Objective, **options: Any) -> None:
        """Find the objective."""
        super().__init__()
        self.objective = adversarial.objective(objective, **options)

    def forward(self, *, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """A scalar."""
        return self.objective.generator(fake=fake, real=real)


class GradientPenalty(nn.Module):
    """`howfar.adversarial.gradient_penalty` with its options held.

    Args:
        options: weight, kind, target and the others of the function.

    Example:
        >>> import torch, howfar
        >>> critic = torch.nn.Linear(2, 1)
        >>> x = torch.randn(8, 2)
        >>> penalty = howfar.nn.GradientPenalty(kind="r1", weight=2.0)
        >>> torch.allclose(penalty(critic, real=x), critic.weight.square().sum())
        True
    """

    def __init__(self, **options: Any) -> None:
        """Check the names of the options, and hold them."""
        super().__init__()
        known = set(inspect.signature(adversarial.gradient_penalty).parameters) - {"critic", "real", "fake"}
        for name in options:
            if name not in known:
                raise unknown_name("GradientPenalty option", name, known)
        self.options = options

    def forward(self, critic: Callable[..., Tensor], **samples: Any) -> Tensor:
        """The penalty of the critic on real=, fake= and what else the function takes."""
        return adversarial.gradient_penalty(critic, **samples, **self.options)

    def extra_repr(self) -> str:
        """The options."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())
