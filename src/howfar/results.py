"""Results that several floors return."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A number with its error bar.

    Attributes:
        value: (...), in the unit of the distance it estimates.
        standard_error: (...), same unit; 0 where the value is exact.
        interval: (lower, upper), each (...), at `level`.
        level: coverage of the interval.
        method: how the value was found ("closed form", "Monte Carlo", ...).
        warnings: what a careful reader should know before trusting the number.
    """

    value: Tensor
    standard_error: Tensor
    interval: tuple[Tensor, Tensor]
    level: float = 0.95
    method: str = ""
    warnings: tuple[str, ...] = ()
