"""Costs and kernels of the op tests, each with an oracle that shares no code with the house: SciPy and NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from howfar import costs, kernels

Array = np.ndarray[Any, np.dtype[np.float64]]
Oracle = Callable[[Array, Array], Array]


def crooked(x: Tensor, y: Tensor) -> Tensor:
    """A cost without symmetry: a metre up costs more than a metre down."""
    return (x[:, None] - y[None]).relu().sum(-1) + 0.25 * (x[:, None] - y[None]).square().sum(-1)


def _crooked(x: Array, y: Array) -> Array:
    gap = x[:, None] - y[None]
    return np.maximum(gap, 0).sum(-1) + 0.25 * (gap**2).sum(-1)


COSTS: dict[str, tuple[costs.Cost, Oracle]] = {
    "sqeuclidean": (costs.SqEuclidean(), lambda x, y: cdist(x, y, "sqeuclidean")),
    "euclidean": (costs.Euclidean(), lambda x, y: cdist(x, y)),
    "cityblock": (costs.CityBlock(), lambda x, y: cdist(x, y, "cityblock")),
    "minkowski 1.5": (costs.Minkowski(1.5), lambda x, y: cdist(x, y, "minkowski", p=1.5)),
    "minkowski 4": (costs.Minkowski(4), lambda x, y: cdist(x, y, "minkowski", p=4)),
    "cosine": (costs.Cosine(), lambda x, y: cdist(x, y, "cosine")),
    "euclidean ** 3": (costs.Power(costs.Euclidean(), 3), lambda x, y: cdist(x, y) ** 3),
    "cityblock ** 1.5": (costs.Power(costs.CityBlock(), 1.5), lambda x, y: cdist(x, y, "cityblock") ** 1.5),
    "a callable": (costs.Custom(crooked), _crooked),
}


def _kernel(metric: str, profile: Callable[[Array], Array]) -> Oracle:
    return lambda x, y: profile(cdist(x, y, metric))


KERNELS: dict[str, tuple[kernels.Kernel, Oracle]] = {
    "gaussian": (kernels.Gaussian(1.3), _kernel("sqeuclidean", lambda c: np.exp(-c / (2 * 1.3**2)))),
    "laplacian": (kernels.Laplacian(1.3), _kernel("euclidean", lambda c: np.exp(-c / 1.3))),
    "laplacian cityblock": (kernels.Laplacian(1.3, "cityblock"), _kernel("cityblock", lambda c: np.exp(-c / 1.3))),
    "imq": (kernels.IMQ(1.3), _kernel("sqeuclidean", lambda c: 1 / np.sqrt(1 + c / 1.3**2))),
    "rational quadratic": (
        kernels.RationalQuadratic(1.3, alpha=0.7),
        _kernel("sqeuclidean", lambda c: (1 + c / (2 * 0.7 * 1.3**2)) ** -0.7),
    ),
    "energy": (kernels.Energy(), _kernel("euclidean", np.negative)),
    "energy 1.5": (kernels.Energy(1.5), _kernel("euclidean", lambda c: -(c**1.5))),
    "energy 2": (kernels.Energy(2), _kernel("sqeuclidean", np.negative)),
    "polynomial": (kernels.Polynomial(degree=3, coef=0.5), lambda x, y: (x @ y.T / x.shape[1] + 0.5) ** 3),
    "linear": (kernels.Linear(), lambda x, y: x @ y.T),
    "sum": (
        kernels.Gaussian(0.5) + kernels.Gaussian(2.0) + kernels.Laplacian(1.0, "cityblock") + kernels.Linear(),
        lambda x, y: (
            np.exp(-2 * cdist(x, y, "sqeuclidean"))
            + np.exp(-cdist(x, y, "sqeuclidean") / 8)
            + np.exp(-cdist(x, y, "cityblock"))
            + x @ y.T
        ),
    ),
}


def clouds(n: int, m: int, d: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Two clouds that overlap, as far from each other in many features as in few."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64) / d**0.5
    y = torch.randn(m, d, generator=generator, dtype=torch.float64) / d**0.5 + 0.5 / d**0.5
    return x.to(dtype), y.to(dtype)


def potential(m: int, *, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Numbers (m,) of the size of the costs."""
    return torch.randn(m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
