"""Kernels k(x_i, y_j): how alike two points are.

A kernel is a frozen object with `matrix(x, y)` and `diagonal(x)`. Those that depend on a distance only are
profiles of it, so that a sum of many bandwidths computes each distance once.
A bandwidth is a number, or a tensor of the batch shape (...) for one bandwidth per batch element; it is
a constant: no derivative flows into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, complaint, unknown_name
from howfar.costs import CityBlock, dot_products, held_by_squares, safe_power, squared_distances

__all__ = [
    "IMQ",
    "Energy",
    "Gaussian",
    "Kernel",
    "Laplacian",
    "Linear",
    "Polynomial",
    "RationalQuadratic",
    "Stack",
    "Sum",
]

_BASES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sqeuclidean": squared_distances,
    "cityblock": CityBlock().matrix,
    "dot": dot_products,
}


def _bandwidth(value: float | Tensor, name: str) -> float | Tensor:
    if isinstance(value, Tensor) and (value.ndim or _checks.unseen(value)):
        _checks.check_finite(value, name, "Pass finite bandwidths.")
        if not _checks.unseen(value) and bool((value <= 0).any()):
            raise DomainError(complaint(name, "bandwidths > 0", f"{value.min().item():g}", f"Pass a larger {name}."))
        return value.detach()[..., None, None]
    return _checks.check_positive(value, name)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel: `matrix`, `diagonal`, and `+` for sums."""

    base: ClassVar[str] = "sqeuclidean"
    name: ClassVar[str] = "kernel"

    def profile(self, base: Tensor, features: int) -> Tensor:
        """The kernel as a function of its base quantity (squared distance, 1-norm or inner product)."""
        raise NotImplementedError

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """K[..., i, j] = k(x_i, y_j): (..., n, d), (..., m, d) -> (..., n, m)."""
        return self.profile(_BASES[self.base](x, y), x.shape[-1])

    def diagonal(self, x: Tensor) -> Tensor:
        """k(x_i, x_i): (..., n, d) -> (..., n)."""
        own = x.square().sum(-1) if self.base == "dot" else torch.zeros_like(x[..., 0])
        return self.profile(own.unsqueeze(-1), x.shape[-1]).squeeze(-1)

    def held(self, features: int) -> int:
        """About how many numbers the graph of `matrix` holds for each pair: what a streamed derivative cuts its blocks by."""
        return CityBlock().held(features) if self.base == "cityblock" else held_by_squares(features)

    @property
    def highest_power(self) -> float:
        """Of a distance, among what is formed on the way to the kernel."""
        return 1.0 if self.base == "cityblock" else 2.0

    def __add__(self, other: Kernel) -> Sum:
        """The sum of two kernels."""
        return Sum((*_terms(self), *_terms(other)))


@dataclass(frozen=True, eq=False)
class Gaussian(Kernel):
    """exp(-|x - y|^2 / (2 s^2)).

    Example:
        >>> import torch
        >>> Gaussian(1.0).matrix(torch.zeros(1, 1), torch.full((1, 1), 2.0**0.5))
        tensor([[0.3679]])
    """

    s: float | Tensor = 1.0
    name: ClassVar[str] = "gaussian"

    def __post_init__(self) -> None:
        """Refuse s <= 0."""
        object.__setattr__(self, "s", _bandwidth(self.s, "s"))

    def profile(self, base: Tensor, features: int) -> Tensor:  # noqa: ARG002
        """exp(-base / (2 s^2))."""
        return torch.exp(base / (-2 * self.s**2))


@dataclass(frozen=True, eq=False)
class Laplacian(Kernel):
    """exp(-|x - y| / s), with the Euclidean norm or (`norm="cityblock"`) the sum of absolute differences.

    Example:
        >>> import torch
        >>> Laplacian(2.0).matrix(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
        tensor([[0.3679]])
    """

    s: float | Tensor = 1.0
    norm: str = "euclidean"
    name: ClassVar[str] = "laplacian"

    def __post_init__(self) -> None:
        """Refuse s <= 0 and other norms."""
        object.__setattr__(self, "s", _bandwidth(self.s, "s"))
        _checks.check_choice(self.norm, "norm", ("euclidean", "cityblock"))

    @property
    def base(self) -> str:  # type: ignore[override]
        """The distance that the kernel is a profile of."""
        return "cityblock" if self.norm == "cityblock" else "sqeuclidean"

    def profile(self, base: Tensor, features: int) -> Tensor:  # noqa: ARG002
        """exp(-distance / s)."""
        distance = base if self.norm == "cityblock" else safe_power(base, 0.5)
        return torch.exp(-distance / self.s)


@dataclass(frozen=True, eq=False)
class IMQ(Kernel):
    """Inverse multiquadric (1 + |x - y|^2 / s^2)^(-1/2).

    Example:
        >>> import torch
        >>> IMQ(1.0).matrix(torch.tensor([[0.0]]), torch.tensor([[3.0**0.5]]))
        tensor([[0.5000]])
    """

    s: float | Tensor = 1.0
    name: ClassVar[str] = "imq"

    def __post_init__(self) -> None:
        """Refuse s <= 0."""
        object.__setattr__(self, "s", _bandwidth(self.s, "s"))

    def profile(self, base: Tensor, features: int) -> Tensor:  # noqa: ARG002
        """(1 + base / s^2)^(-1/2)."""
        return torch.rsqrt(1 + base / self.s**2)


@dataclass(frozen=True, eq=False)
class RationalQuadratic(Kernel):
    """(1 + |x - y|^2 / (2 alpha s^2))^(-alpha), a mixture of Gaussians of many widths (Rasmussen & Williams, 4.19).

    Example:
        >>> import torch
        >>> RationalQuadratic(1.0, alpha=2.0).matrix(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
        tensor([[0.2500]])
    """

    s: float | Tensor = 1.0
    alpha: float = 1.0
    name: ClassVar[str] = "rational_quadratic"

    def __post_init__(self) -> None:
        """Refuse s <= 0 and alpha <= 0."""
        object.__setattr__(self, "s", _bandwidth(self.s, "s"))
        object.__setattr__(self, "alpha", _checks.check_positive(self.alpha, "alpha"))

    def profile(self, base: Tensor, features: int) -> Tensor:  # noqa: ARG002
        """(1 + base / (2 alpha s^2))^(-alpha)."""
        return (1 + base / (2 * self.alpha * self.s**2)).pow(-self.alpha)


@dataclass(frozen=True, eq=False)
class Energy(Kernel):
    """-|x - y|^exponent, 0 < exponent <= 2: conditionally positive definite, the kernel of the energy distance.

    Example:
        >>> import torch
        >>> Energy(0.5).matrix(torch.tensor([[0.0]]), torch.tensor([[4.0]]))
        tensor([[-2.]])
    """

    exponent: float = 1.0
    name: ClassVar[str] = "energy"

    def __post_init__(self) -> None:
        """Refuse exponents outside (0, 2]."""
        exponent = _checks.check_positive(self.exponent, "exponent")
        if exponent > 2:
            raise DomainError(
                complaint("exponent", "a number in (0, 2]", f"{exponent:g}", "Beyond 2 it is no distance any more.")
            )
        object.__setattr__(self, "exponent", exponent)

    def profile(self, base: Tensor, features: int) -> Tensor:  # noqa: ARG002
        """-base^(exponent / 2)."""
        return -base if self.exponent == 2 else -safe_power(base, self.exponent / 2)


@dataclass(frozen=True, eq=False)
class Polynomial(Kernel):
    """(gamma <x, y> + coef)^degree; gamma is 1 / d when left out.

    Example:
        >>> import torch
        >>> Polynomial(degree=2).matrix(torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 1.0]]))
        tensor([[9.]])
    """

    degree: int = 3
    gamma: float | None = None
    coef: float = 1.0
    base: ClassVar[str] = "dot"
    name: ClassVar[str] = "polynomial"

    def __post_init__(self) -> None:
        """Refuse degrees < 1 and gamma <= 0."""
        object.__setattr__(self, "degree", _checks.check_count(self.degree, "degree"))
        if self.gamma is not None:
            object.__setattr__(self, "gamma", _checks.check_positive(self.gamma, "gamma"))
        object.__setattr__(self, "coef", _checks.check_number(self.coef, "coef", least=0.0))

    def profile(self, base: Tensor, features: int) -> Tensor:
        """(gamma base + coef)^degree."""
        gamma = 1 / features if self.gamma is None else self.gamma
        return (gamma * base + self.coef).pow(self.degree)


@dataclass(frozen=True, eq=False)
class Linear(Kernel):
    """<x, y>: its discrepancy is the distance of the means.

    Example:
        >>> import torch
        >>> Linear().matrix(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 1.0]]))
        tensor([[5.]])
    """

    base: ClassVar[str] = "dot"
    name: ClassVar[str] = "linear"

    def profile(self, base: Tensor, features: int) -> Tensor:  # noqa: ARG002
        """The inner product itself."""
        return base


@dataclass(frozen=True, eq=False)
class Sum(Kernel):
    """The sum of kernels; each distance that several of them share is computed once.

    Example:
        >>> import torch
        >>> total = Sum([Gaussian(1.0), Gaussian(2.0)])
        >>> total.matrix(torch.zeros(1, 1), torch.zeros(1, 1))
        tensor([[2.]])
    """

    kernels: tuple[Kernel, ...]
    name: ClassVar[str] = "sum"

    def __post_init__(self) -> None:
        """Refuse an empty sum."""
        object.__setattr__(self, "kernels", _several(self.kernels, "Sum"))

    @property
    def highest_power(self) -> float:
        """The highest of theirs."""
        return max(kernel.highest_power for kernel in self.kernels)

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the kernel matrices."""
        return _total(self, _bases(_terms(self), x, y), x.shape[-1])

    def held(self, features: int) -> int:
        """What all terms hold."""
        return sum(k.held(features) for k in _terms(self))

    def diagonal(self, x: Tensor) -> Tensor:
        """The sum of the diagonals."""
        return torch.stack([k.diagonal(x) for k in _terms(self)]).sum(0)


@dataclass(frozen=True, eq=False)
class Stack:
    """Kernels side by side: `kernel_sum` gives one result for each, (..., K, n) or (..., K, n, B), from one pass.

    Each distance that several of them share is computed once. No kernel itself, so what wants one takes no stack.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> howfar.ops.kernel_sum(x, x, torch.tensor([1.0, 0.0]), kernel=Stack([Gaussian(1.0), Gaussian(2.0)]))
        tensor([[1.0000, 0.1353],
                [1.0000, 0.6065]])
    """

    kernels: tuple[Kernel, ...]
    name: ClassVar[str] = "stack"

    def __post_init__(self) -> None:
        """Refuse an empty stack."""
        object.__setattr__(self, "kernels", _several(self.kernels, "Stack"))

    @property
    def highest_power(self) -> float:
        """The highest of theirs."""
        return max(kernel.highest_power for kernel in self.kernels)

    def matrix(self, x: Tensor, y: Tensor) -> Tensor:
        """All kernel matrices: (..., n, d), (..., m, d) -> (..., K, n, m)."""
        bases = _bases(tuple(term for kernel in self.kernels for term in _terms(kernel)), x, y)
        return torch.stack([_total(kernel, bases, x.shape[-1]) for kernel in self.kernels], -3)

    def held(self, features: int) -> int:
        """What all kernels hold."""
        return sum(kernel.held(features) for kernel in self.kernels)


def _several(kernels: Iterable[Kernel], owner: str) -> tuple[Kernel, ...]:
    kernels = tuple(kernels)
    if not kernels:
        raise DomainError(complaint("kernels", "at least one kernel", "none", f"Pass howfar.kernels.{owner}([...])."))
    stranger = next((k for k in kernels if not isinstance(k, Kernel)), None)
    if stranger is not None:
        raise DomainError(
            complaint("kernels", "objects of howfar.kernels", repr(stranger), "Pass howfar.kernels.Gaussian(s).")
        )
    return kernels


def _bases(terms: tuple[Kernel, ...], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    return {base: _BASES[base](x, y) for base in sorted({k.base for k in terms})}


def _total(kernel: Kernel, bases: dict[str, Tensor], features: int) -> Tensor:
    first, *rest = _terms(kernel)
    total = first.profile(bases[first.base], features)
    for term in rest:
        total = total + term.profile(bases[term.base], features)
    return total


def _terms(kernel: Kernel) -> tuple[Kernel, ...]:
    if isinstance(kernel, Sum):
        return tuple(term for k in kernel.kernels for term in _terms(k))
    return (kernel,)


KERNELS: dict[str, type[Kernel]] = {
    k.name: k for k in (Gaussian, Laplacian, IMQ, RationalQuadratic, Energy, Polynomial, Linear)
}
"""Every kernel that a name is enough for."""


def resolve(kernel: str | Kernel | Iterable[Kernel], bandwidth: float | Tensor | None = None) -> Kernel:
    """The kernel object of a name (with its bandwidth, where it has one), an object, or several to be summed."""
    if isinstance(kernel, Kernel):
        return kernel
    if isinstance(kernel, str):
        if kernel not in KERNELS:
            raise unknown_name("kernel", kernel, KERNELS)
        kind = KERNELS[kernel]
        takes_bandwidth = "s" in kind.__dataclass_fields__
        return kind(s=bandwidth) if takes_bandwidth and bandwidth is not None else kind()  # type: ignore[call-arg]
    if isinstance(kernel, Iterable):
        terms = tuple(kernel)
        if all(isinstance(k, Kernel) for k in terms):
            return Sum(terms)
    raise DomainError(
        complaint("kernel", "a name or an object of howfar.kernels", repr(kernel), "Pass howfar.kernels.Gaussian(s).")
    )
