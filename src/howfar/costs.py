"""Ground costs c(x_i, y_j): how far one point is from another.

A cost is a frozen object with one method, `matrix(x, y)`. An op, a geometry or a distance takes the object,
its name, or any callable `(n, d), (m, d) -> (n, m)`.

Squared distances are summed feature by feature while features are few, and through a float64 product of
centred clouds beyond, so that neither an offset of the data nor the float32 of the input decides the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, ShapeError, complaint, unknown_name

__all__ = ["CityBlock", "Cosine", "Cost", "Custom", "Euclidean", "Minkowski", "Power", "SqEuclidean"]

_FEWEST_FOR_PRODUCT = 17
"""From here a matrix product of float64 is quicker than the sum over features."""


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2, (..., n, d), (..., m, d) -> (..., n, m); never negative."""
    if x.shape[-1] < _FEWEST_FOR_PRODUCT or x.device.type == "mps":
        return _over_features(x, y, torch.square)
    centre = (0.5 * (x.detach().mean(-2, keepdim=True) + y.detach().mean(-2, keepdim=True))).double()
    left, right = x.double() - centre, y.double() - centre
    squared = left.square().sum(-1).unsqueeze(-1) + right.square().sum(-1).unsqueeze(-2)
    squared = squared - 2 * (left @ right.mT)
    # The clamp must not touch the derivative: coincident points have a Hessian too.
    squared = squared + (squared.detach().clamp_min(0) - squared.detach())
    return squared.to(x.dtype)


def held_by_squares(features: int) -> int:
    """Numbers that the graph of `squared_distances`, or of a product, and of a formula on it holds for each pair."""
    return 4 + min(features, _FEWEST_FOR_PRODUCT)


def dot_products(x: Tensor, y: Tensor) -> Tensor:
    """<x_i, y_j>, (..., n, d), (..., m, d) -> (..., n, m), summed in float64 where the device has it."""
    if x.device.type == "mps":
        return x @ y.mT
    return (x.double() @ y.double().mT).to(x.dtype)


def safe_power(base: Tensor, exponent: float) -> Tensor:
    """base ** exponent for base >= 0, with derivative 0 where base is 0."""
    # So written, what is not a number is not taken for a zero.
    zero = base <= 0
    return torch.where(zero, 0, torch.where(zero, 1, base).pow(exponent))


def _over_features(x: Tensor, y: Tensor, term: Callable[[Tensor], Tensor]) -> Tensor:
    total = term(x[..., :, None, 0] - y[..., None, :, 0])
    for k in range(1, x.shape[-1]):
        total = total + term(x[..., :, None, k] - y[..., None, :, k])
    return total


@dataclass(frozen=True)
class Cost:
    """A ground cost.

    Attributes:
        name: how tables and messages call it.
        degree: c(t x, t y) = t ** degree * c(x, y), or None where no such law holds; ties `blur` to `eps`.
        batched: whether `matrix` takes batch axes and depends on x and y alone. Where it does not, an op calls it
            once for each batch element and keeps what a derivative needs, in memory for all pairs.
    """

    name: ClassVar[str] = "cost"
    batched: ClassVar[bool] = True

    @property
    def degree(self) -> float | None:
        """The degree of homogeneity."""
        return 1.0

    @property
    def highest_power(self) -> float:
        """Of a distance, among what is formed on the way to the cost; 0 where that is not known."""
        return 2.0

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """C[..., i, j] = c(x_i, y_j): (..., n, d), (..., m, d) -> (..., n, m)."""
        raise NotImplementedError

    def swapped(self) -> Cost:
        """c(y, x) as a cost: the same object, unless the cost is not symmetric."""
        return self

    def held(self, features: int) -> int:
        """About how many numbers the graph of `matrix` holds for each pair: what a streamed derivative cuts its blocks by."""
        return held_by_squares(features)


@dataclass(frozen=True)
class SqEuclidean(Cost):
    """|x - y|^2, never halved; in squared units of the data.

    Example:
        >>> import torch
        >>> SqEuclidean().matrix(torch.tensor([[0.0]]), torch.tensor([[3.0]]))
        tensor([[9.]])
    """

    name: ClassVar[str] = "sqeuclidean"

    @property
    def degree(self) -> float:
        """2."""
        return 2.0

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """|x_i - y_j|^2."""
        return squared_distances(x, y)


@dataclass(frozen=True)
class Euclidean(Cost):
    """|x - y|, in units of the data.

    Example:
        >>> import torch
        >>> Euclidean().matrix(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([[5.]])
    """

    name: ClassVar[str] = "euclidean"

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """|x_i - y_j|."""
        return safe_power(squared_distances(x, y), 0.5)


@dataclass(frozen=True)
class CityBlock(Cost):
    """sum_k |x_k - y_k|, in units of the data.

    Example:
        >>> import torch
        >>> CityBlock().matrix(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([[7.]])
    """

    name: ClassVar[str] = "cityblock"

    @property
    def highest_power(self) -> float:
        """1."""
        return 1.0

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """sum_k |x_ik - y_jk|."""
        return _over_features(x, y, torch.abs)

    def held(self, features: int) -> int:
        """One difference for each feature."""
        return 4 + features


@dataclass(frozen=True)
class Minkowski(Cost):
    """(sum_k |x_k - y_k|^p)^(1/p), p >= 1, in units of the data.

    Example:
        >>> import torch
        >>> Minkowski(3).matrix(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 3.0]]))
        tensor([[3.7798]])
    """

    p: float
    name: ClassVar[str] = "minkowski"

    def __post_init__(self) -> None:
        """Refuse p < 1, which is no distance."""
        object.__setattr__(self, "p", _checks.check_number(self.p, "p", least=1.0))

    @property
    def highest_power(self) -> float:
        """1, as the differences are scaled by the largest."""
        return 1.0

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """The p-norm of the differences; scaled by the largest, so that no power overflows."""
        largest = (x[..., :, None, 0] - y[..., None, :, 0]).detach().abs()
        for k in range(1, x.shape[-1]):
            largest = torch.maximum(largest, (x[..., :, None, k] - y[..., None, :, k]).detach().abs())
        scale = torch.where(largest > 0, largest, 1)
        total = _over_features(x, y, lambda difference: safe_power(difference.abs() / scale, self.p))
        return scale * safe_power(total, 1 / self.p)

    def held(self, features: int) -> int:
        """A difference, its size, its ratio, its power and two masks for each feature."""
        return 4 + 6 * features


@dataclass(frozen=True)
class Cosine(Cost):
    """1 - <x, y> / (|x| |y|), without unit, in [0, 2]; 1 where a vector is zero and has no direction.

    Example:
        >>> import torch
        >>> Cosine().matrix(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0], [-3.0, 0.0]]))
        tensor([[1., 2.]])
    """

    name: ClassVar[str] = "cosine"

    @property
    def degree(self) -> None:
        """None: only directions count."""
        return

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """One minus the cosine of the angle."""
        dtype, wide = x.dtype, x.dtype if x.device.type == "mps" else torch.float64
        (x, x_zero), (y, y_zero) = _directions(x.to(wide)), _directions(y.to(wide))
        # Half the squared distance of the directions: 1 - <u, v> has no digits left where the angle is small.
        nowhere = x_zero.unsqueeze(-1) | y_zero.unsqueeze(-2)
        cost = torch.where(nowhere, 1 - dot_products(x, y), 0.5 * squared_distances(x, y))
        return (cost + (cost.detach().clamp_max(2) - cost.detach())).to(dtype)


def _directions(x: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (..., n, d), and which of x are zero (..., n)."""
    scale = x.detach().abs().amax(-1, keepdim=True)
    x = x / torch.where(scale > 0, scale, 1)
    norm = safe_power(x.square().sum(-1, keepdim=True), 0.5)
    return x / torch.where(norm > 0, norm, 1), (norm == 0).squeeze(-1)


@dataclass(frozen=True)
class Power(Cost):
    """base ** exponent: the ground cost of the Wasserstein distance of that order.

    Example:
        >>> import torch
        >>> Power(Euclidean(), 3).matrix(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
        tensor([[8.]])
    """

    base: Cost
    exponent: float
    name: ClassVar[str] = "power"

    def __post_init__(self) -> None:
        """Refuse exponents that are not positive."""
        object.__setattr__(self, "exponent", _checks.check_positive(self.exponent, "exponent"))

    @property
    def batched(self) -> bool:  # type: ignore[override]
        """As the base."""
        return self.base.batched

    def swapped(self) -> Power:
        """The power of the swapped base."""
        base = self.base.swapped()
        return self if base is self.base else Power(base, self.exponent)

    def held(self, features: int) -> int:
        """As the base, and the power."""
        return self.base.held(features) + 4

    @property
    def degree(self) -> float | None:
        """The exponent times the degree of the base."""
        return None if self.base.degree is None else self.exponent * self.base.degree

    @property
    def highest_power(self) -> float:
        """That of the base, or the degree."""
        return max(self.base.highest_power, self.degree or 0.0)

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """The power of the base cost."""
        if isinstance(self.base, Euclidean):
            squared = squared_distances(x, y)
            return squared if self.exponent == 2 else safe_power(squared, self.exponent / 2)
        base = self.base.matrix(x, y)
        if isinstance(self.base, Custom) and not _checks.unseen(base) and bool((base < 0).any()):
            fix = "Return a distance: its power is what is transported."
            raise DomainError(complaint("cost", "numbers >= 0", f"{base.min().item():.6g}", fix))
        return base if self.exponent == 1 else safe_power(base, self.exponent)


@dataclass(frozen=True)
class Custom(Cost):
    """Any function `(n, d), (m, d) -> (n, m)`, called once for each batch element.

    Example:
        >>> import torch
        >>> Custom(lambda x, y: (y.T - x).relu()).matrix(torch.tensor([[1.0]]), torch.tensor([[0.0], [4.0]]))
        tensor([[0., 3.]])
    """

    function: Callable[[Tensor, Tensor], Tensor]
    name: ClassVar[str] = "custom"
    batched: ClassVar[bool] = False

    @property
    def degree(self) -> None:
        """Unknown."""
        return

    def swapped(self) -> Custom:
        """The function with its arguments exchanged: a callable need not be symmetric."""
        return Custom(lambda y, x: self.function(x, y).mT)

    @property
    def highest_power(self) -> float:
        """Unknown."""
        return 0.0

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """The function on every pair of clouds of the batch."""
        if x.ndim > 2:
            return torch.stack([self.matrix(left, right) for left, right in zip(x, y, strict=True)])
        cost = self.function(x, y)
        expected = (x.shape[-2], y.shape[-2])
        if not isinstance(cost, Tensor) or cost.shape != expected:
            got = f"shape {tuple(cost.shape)}" if isinstance(cost, Tensor) else type(cost).__name__
            raise ShapeError(
                complaint(
                    "cost",
                    f"a callable that returns a tensor of shape {expected} for {expected[0]} and {expected[1]} points",
                    got,
                    "Return one cost for each pair of points.",
                )
            )
        _checks.check_finite(cost, "cost", "Return a finite cost for each pair of points.")
        return cost


COSTS: dict[str, Cost] = {c.name: c for c in (SqEuclidean(), Euclidean(), CityBlock(), Cosine())}
"""Costs that a name is enough for."""


def resolve(cost: str | Cost | Callable[[Tensor, Tensor], Tensor]) -> Cost:
    """The cost object of a name, an object, or a callable."""
    if isinstance(cost, Cost):
        return cost
    if isinstance(cost, str):
        if cost in COSTS:
            return COSTS[cost]
        if cost == "minkowski":
            raise DomainError(
                complaint("cost", "an order for minkowski", repr(cost), "Pass howfar.costs.Minkowski(p).")
            )
        raise unknown_name("cost", cost, COSTS)
    if isinstance(cost, type):
        raise DomainError(
            complaint("cost", "an object of howfar.costs", f"the class {cost.__name__}", f"Pass {cost.__name__}().")
        )
    if callable(cost):
        return Custom(cost)
    raise DomainError(
        complaint(
            "cost",
            "a name, an object of howfar.costs, or a callable (n, d), (m, d) -> (n, m)",
            repr(cost),
            "For a ready matrix use howfar.transport_matrix.",
        )
    )
