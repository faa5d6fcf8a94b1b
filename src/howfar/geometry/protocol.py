"""What a solver may ask of a geometry."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from howfar.ops.alternation import Alternated, Weighing
from howfar.ops.sweep import Turn

Side = Literal["x", "y"]
"""The side that an answer is for: "x" reduces over y and returns one row for each x_i."""


class Geometry(Protocol):
    """A cost between n and m points that may never have been stored.

    Laws: every method equals the same formula on `matrix()`; `rebuilt(*tensors())` is the same geometry, and
    derivatives flow through the tensors given to it.
    """

    @property
    def shape(self) -> tuple[int, int]:
        """(n, m)."""

    @property
    def batch(self) -> torch.Size:
        """The batch axes."""

    @property
    def degree(self) -> float | None:
        """The degree of homogeneity of the cost, or None."""

    def tensors(self) -> tuple[Tensor, ...]:
        """The differentiable tensors that define the cost."""

    def rebuilt(self, *tensors: Tensor) -> Geometry:
        """The same geometry on other tensors."""

    def softmin(self, h: Tensor, eps: Tensor, side: Side) -> Tensor:
        """-eps log sum exp((h - C) / eps) over the other side."""

    def softmin_apply(self, h: Tensor, v: Tensor, eps: Tensor, side: Side) -> tuple[Tensor, Tensor]:
        """That, and the averages of v under the same weights."""

    def softmin_cost(self, h: Tensor, eps: Tensor, side: Side) -> Tensor:
        """The average of the cost under the same weights."""

    def apply(self, w: Tensor, side: Side) -> Tensor:
        """C w, one number for each point of the side; w has one for each point of the other."""

    def nearest(self, h: Tensor, k: int, side: Side) -> tuple[Tensor, Tensor]:
        """The k smallest C - h over the other side, and their indices."""

    def matrix(self) -> Tensor:
        """C (..., n, m), built now."""

    def scale(self) -> Tensor:
        """(...) about the largest cost, from a sample of the pairs."""

    def at(self, i: Tensor, j: Tensor) -> Tensor:
        """(K,) the costs of K pairs of a geometry without batch axes, differentiable."""


@runtime_checkable
class Contained(Protocol):
    """A geometry that can run Sinkhorn's alternation whole where it is small."""

    def alternate(self, task: Weighing) -> Alternated | None:
        """The alternation, or None where the geometry is too large for it or it cannot run here."""


@runtime_checkable
class Swept(Protocol):
    """A geometry that can update one potential and take the soft minimum over it in one pass over the pairs."""

    def sweep(self, turn: Turn) -> tuple[Tensor, Tensor] | None:
        """Both, or None where they have to be computed in turn."""
