"""Cases for the laws that every row of the catalogue obeys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from howfar import Measure, catalog

TIGHT = {
    "sinkhorn_divergence": {"eps": 0.3, "tol": 1e-11, "max_iter": 5000},
    "sinkhorn_distance": {"eps": 0.3, "tol": 1e-11, "max_iter": 5000},
    "circle_wasserstein": {"period": 40.0},
    "mmd2": {"bandwidth": 1.0},
    "mmd": {"bandwidth": 1.0, "estimator": "biased"},
    "alpha_divergence": {"alpha": 0.7},
    "renyi": {"alpha": 0.7},
}
"""Options under which a law holds to rounding: solvers converged, bandwidths that do not follow the data."""


FIXED = {"multi_kernel_mmd": {"fix_sigma": 1.0}}
"""Options under which the function has the derivative it is given: bandwidths taken from the data are constants."""


@dataclass(frozen=True)
class Case:
    """A row of the catalogue with the options that its laws are tested at."""

    row: catalog.Row
    options: dict[str, Any]

    def __call__(self, x: Any, y: Any, **more: Any) -> Tensor:
        """The distance, with the same draws at every call."""
        options = {**self.options, **more}
        if self.row.inputs == catalog.ANGLES:
            x, y = _first_feature(x), _first_feature(y)
        if self.row.random:
            options["generator"] = torch.Generator().manual_seed(7)
        return self.row.function(x, y, **options)

    def fixed(self) -> Case:
        """The same with everything constant that the derivative holds constant."""
        return Case(self.row, {**self.options, **FIXED.get(self.row.name, {})})

    def loosened(self) -> Case:
        """The same at the default tolerance of the solver, for float32."""
        return Case(self.row, {k: v for k, v in self.options.items() if k not in ("tol", "max_iter")})


def _first_feature(x: Any) -> Any:
    """(..., n, 1) of points (..., n, d): laws are stated for any number of features."""
    if isinstance(x, Measure):
        return Measure.of(x.points[..., :1], x.weights)
    return x if x.ndim == 1 else x[..., :1]


def _cases(*inputs: str) -> list[Case]:
    return [Case(r, {**r.defaults, **TIGHT.get(r.name, {})}) for r in catalog.rows() if r.inputs in inputs]


def pytest_configure(config: pytest.Config) -> None:
    """`law` says which rows a test is for."""
    config.addinivalue_line("markers", "law(applies): the rows of the catalogue that promise what the test asserts")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`case` runs over points, `divergence` over probabilities, where the row promises the law."""
    laws = [mark.args[0] for mark in metafunc.definition.iter_markers("law")]
    for name, inputs in (("case", (catalog.POINTS, catalog.ANGLES)), ("divergence", (catalog.PROBABILITIES,))):
        if name in metafunc.fixturenames:
            cases = [c for c in _cases(*inputs) if all(law(c.row) for law in laws)]
            metafunc.parametrize(name, cases, ids=[c.row.name for c in cases])


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    """Standard normal numbers in float64 from a fixed seed."""
    generator = torch.Generator().manual_seed(3)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
