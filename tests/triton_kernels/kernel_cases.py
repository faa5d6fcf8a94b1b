"""Clouds of the kernel tests, and how far an answer may be from the reference's in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from howfar import costs, kernels

COSTS: dict[str, costs.Cost] = {
    "sqeuclidean": costs.SqEuclidean(),
    "euclidean": costs.Euclidean(),
    "cityblock": costs.CityBlock(),
    "minkowski 1": costs.Minkowski(1),
    "minkowski 1.5": costs.Minkowski(1.5),
    "minkowski 2": costs.Minkowski(2),
    "minkowski 4": costs.Minkowski(4),
    "cosine": costs.Cosine(),
    "euclidean ** 2": costs.Power(costs.Euclidean(), 2),
    "euclidean ** 3": costs.Power(costs.Euclidean(), 3),
    "euclidean ** 4": costs.Power(costs.Euclidean(), 4),
    "cityblock ** 1.5": costs.Power(costs.CityBlock(), 1.5),
    "minkowski 3 ** 2": costs.Power(costs.Minkowski(3), 2),
    "cosine ** 0.5": costs.Power(costs.Cosine(), 0.5),
}

KERNELS: dict[str, kernels.Kernel] = {
    "gaussian": kernels.Gaussian(1.3),
    "laplacian": kernels.Laplacian(1.3),
    "laplacian cityblock": kernels.Laplacian(1.3, "cityblock"),
    "imq": kernels.IMQ(1.3),
    "rational quadratic": kernels.RationalQuadratic(1.3, alpha=0.7),
    "rational quadratic 1": kernels.RationalQuadratic(1.3, alpha=1),
    "energy": kernels.Energy(),
    "energy 1.5": kernels.Energy(1.5),
    "energy 2": kernels.Energy(2),
    "polynomial": kernels.Polynomial(degree=3, coef=0.5),
    "polynomial 1": kernels.Polynomial(degree=1, gamma=2.0),
    "linear": kernels.Linear(),
    "five bandwidths": kernels.Sum(tuple(kernels.Gaussian(0.3 * 2**i) for i in range(5))),
    "sum": kernels.Gaussian(0.5)
    + kernels.IMQ(1.0)
    + kernels.RationalQuadratic(1.0, 0.5)
    + kernels.Laplacian(2.0, "cityblock")
    + kernels.Laplacian(2.0)
    + kernels.Linear()
    + kernels.Polynomial(2),
}


def cloud(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Points as far from each other in many features as in few."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator, dtype=torch.float64) / shape[-1] ** 0.5).to(dtype)


def numbers(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Potentials, weights or values of the size of the costs."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def tolerance(dtype: torch.dtype, d: int) -> float:
    """A sum of d terms rounds each of them, and a dozen steps surround it."""
    return (d**0.5 + 12) * torch.finfo(dtype).eps


def close(got: Tensor, wanted: Tensor, rel: float) -> None:
    """Equal up to `rel` of the largest number wanted."""
    assert got.shape == wanted.shape
    wanted = wanted.double().to(got.device)
    error = (got.double() - wanted).abs().max().item()
    largest = wanted.abs().max().item()
    assert error <= rel * largest, f"{error / largest:.2g} of the largest"
