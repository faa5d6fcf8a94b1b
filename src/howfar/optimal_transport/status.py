"""How a solver ended; each value is the sentence that the user reads."""

from __future__ import annotations

from enum import Enum


class Status(Enum):
    """How a solver ended, and what to change."""

    CONVERGED = "The marginal error is within tol."
    MAX_ITER = (
        "max_iter was reached before the marginal error fell to tol. Raise max_iter, or eps, or accept a larger tol."
    )
    PRECISION = "The marginal error stopped falling at the rounding of float64. Raise eps or tol."

    RESTED = "The last step moved by less than tol."
    MOVING = (
        "max_iter was reached while the answer still moved by more than tol. Raise max_iter, or accept a larger tol."
    )

    @property
    def message(self) -> str:
        """The sentence."""
        return str(self.value)
