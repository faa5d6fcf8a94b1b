"""Densities on a grid: expectations are sums that the trapezoid rule makes exact to float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch


@dataclass(frozen=True)
class Pair:
    """Two densities with weights that integrate against them."""

    x: np.ndarray
    dx: float
    p: np.ndarray
    q: np.ndarray

    @property
    def log_ratio(self) -> torch.Tensor:
        return torch.from_numpy(np.log(self.p) - np.log(self.q))

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return {"real_weights": torch.from_numpy(self.p * self.dx), "fake_weights": torch.from_numpy(self.q * self.dx)}

    def integral(self, values: np.ndarray) -> float:
        return float(np.sum(values) * self.dx)

    def kl(self, first: np.ndarray, second: np.ndarray) -> float:
        return self.integral(first * (np.log(first) - np.log(second)))

    def js(self, pi: float = 0.5) -> float:
        m = pi * self.p + (1 - pi) * self.q
        return pi * self.kl(self.p, m) + (1 - pi) * self.kl(self.q, m)


def _normal(x: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    return np.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))


def _pair(name: str) -> Pair:
    x = np.linspace(-22.0, 22.0, 4401)
    # Wide enough against each other that every chi^2 is finite.
    p, q = {
        "gaussians": (_normal(x, 0.0, 1.0), _normal(x, 1.0, 1.2)),
        "mixture": (0.6 * _normal(x, -1.0, 1.0) + 0.4 * _normal(x, 1.5, 1.0), _normal(x, 0.0, 1.2)),
    }[name]
    return Pair(x, float(x[1] - x[0]), p, q)


@pytest.fixture(params=["gaussians", "mixture"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return _pair(request.param)


@pytest.fixture
def gaussians() -> Pair:
    """N(0, 1) against N(1, 1.2^2)."""
    return _pair("gaussians")
