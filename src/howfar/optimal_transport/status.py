"""How a solver ended; each value is the sentence that the user reads."""

from __future__ import annotations

from enum import Enum


class Status(Enum):
    """How a solver ended, and what to change."""

    CONVERGED = "The marginal error is within tol."
    MAX_ITER = (
        "max_iter was reached before the marginal error fell to tol. Raise max_iter, or eps, or accept a larger tol."
    )
    SLOW = (
        "max_iter was reached with the marginal error at rest: this eps is so small that an iteration moves little mass. "
        "Raise eps, or use exact transport; max_iter helps only where it is raised many times over."
    )
    UNREACHABLE = (
        "max_iter was reached on the way to a tol below the rounding at this eps. Accept a larger tol, or raise eps; "
        "more iterations do not help."
    )
    MASSES = (
        "The total masses of a and b differ by more than tol, so no plan has both as its marginals. Divide each by its sum "
        "in float64, or accept a larger tol."
    )
    PRECISION = "The marginal error stopped falling at the rounding of the potentials. Raise eps or tol."

    RESTED = "The last step moved by less than tol."
    MOVING = (
        "max_iter was reached while the answer still moved by more than tol. Raise max_iter, or accept a larger tol."
    )

    @property
    def message(self) -> str:
        """The sentence."""
        return str(self.value)
