"""The catalogue is the only list of what exists, and the functions, modules and rows say the same."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import howfar
from howfar import adversarial, catalog, nn

ROWS = {row.name: row for row in catalog.rows()}
DISTANCES = [row for row in catalog.rows() if row.inputs != catalog.SCORES]
EACH = pytest.mark.parametrize("row", DISTANCES, ids=[row.name for row in DISTANCES])

FAMILIES = ("optimal_transport", "kernel_distances", "f_divergences")
NOT_DISTANCES = {
    "f_divergence": "of any generator: its named ones are rows",
    "gaussian_map": "a map between the Gaussian fits",
    "histogram": "two samples to probabilities",
    "sliced_wasserstein_estimate": "a row's value with its standard error",
    "transport": "a result, whose value is the cost",
    "transport_matrix": "a result, of a cost matrix",
    "witness": "a function of points",
}
"""Public functions of two sides in the families that are no distance, and what they are."""
FAMILIAR = {
    "sinkhorn_distance": (nn.SinkhornDistance(0.7, 1000), {"eps": 0.7, "max_iter": 1000}),
    "multi_kernel_mmd": (nn.MMDLoss(3.0, 4), {"kernel_mul": 3.0, "kernel_num": 4}),
}
"""Rows whose module keeps the shape of a widely copied one."""
OPTIONS: dict[str, dict[str, Any]] = {
    "alpha_divergence": {"alpha": 1.7},
    "circle_wasserstein": {"p": 1.0, "period": 2.5},
    "energy_distance": {"exponent": 1.3, "estimator": "unbiased"},
    "frechet_distance": {"correction": 1},
    "gaussian_wasserstein": {"correction": 1},
    "kl": {"from_logits": True},
    "max_sliced_wasserstein": {"p": 1.5},
    "mmd": {"kernel": "imq", "estimator": "biased"},
    "mmd2": {"kernel": howfar.kernels.Gaussian(0.8), "estimator": "unbiased"},
    "renyi": {"alpha": 3.0},
    "sinkhorn_divergence": {"blur": 0.5, "reach": 2.0, "cost": "euclidean"},
    "sliced_wasserstein": {"p": 1.5, "n_projections": 7, "directions": "independent"},
    "wasserstein": {"p": 1.0, "cost": "cityblock"},
}
"""Options other than the default, for every row that has any of its own."""


def sides(row: catalog.Row, *, logits: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x, y = torch.randn(2, 9, 3, generator=generator), torch.randn(2, 8, 3, generator=generator) + 0.5
    if row.inputs == catalog.POINTS:
        return x, y
    if row.inputs == catalog.ANGLES:
        return x[..., :1], y[..., :1]
    p, q = x[:, :8, 0], y[:, :, 0]
    return (p, q) if logits else (p.softmax(-1), q.softmax(-1))


def shell(row: catalog.Row) -> type[nn.Distance]:
    (found,) = [
        thing
        for name in nn.__all__
        if inspect.isclass(thing := getattr(nn, name))
        and issubclass(thing, nn.Distance)
        and getattr(thing, "row", None) == row.name
    ]
    return found


def test_names_are_unique_and_found() -> None:
    assert len(ROWS) == len(catalog.rows()) == len(catalog.CATALOG)
    assert all(catalog.row(name) is row for name, row in ROWS.items())


def test_every_public_distance_is_a_row_and_every_row_is_public() -> None:
    both_sides = [("x", "y"), ("p", "q"), ("source", "target")]
    functions = {
        name
        for name in howfar.__all__
        if inspect.isfunction(function := getattr(howfar, name))
        and function.__module__.split(".")[1] in FAMILIES
        and tuple(inspect.signature(function).parameters)[:2] in both_sides
    }
    assert set(NOT_DISTANCES) - {"transport_matrix"} < functions
    assert functions - set(NOT_DISTANCES) == {row.name for row in DISTANCES}
    assert all(getattr(howfar, row.name) is row.function for row in DISTANCES)


def test_every_objective_is_a_row_and_every_row_of_scores_an_objective() -> None:
    scored = {row.name: row for row in catalog.rows() if row.inputs == catalog.SCORES}
    assert set(scored) == {f"adversarial:{objective.name}" for objective in adversarial.OBJECTIVES.values()}
    real, fake = torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 0.5])
    for name, row in scored.items():
        made = row.function()
        assert isinstance(made, adversarial.Objective)
        objective = name.removeprefix("adversarial:")
        critic, generator = nn.CriticLoss(objective), nn.GeneratorLoss(objective)
        assert critic(real=real, fake=fake).equal(made.critic(real=real, fake=fake))
        assert generator(fake=fake, real=real).equal(made.generator(fake=fake, real=real))


def test_every_row_says_what_its_number_means() -> None:
    folders = {p.name for p in Path(catalog.__file__).parent.iterdir() if p.is_dir()}
    for row in catalog.rows():
        assert row.unit in {"data", "data^2", "cost", "nats", "none"}
        assert row.inputs in {catalog.POINTS, catalog.ANGLES, catalog.PROBABILITIES, catalog.SCORES}
        assert row.family.replace(" ", "_").replace("-", "_") in folders
        assert 15 < len(row.summary) < 130
        assert not row.summary.endswith(".")
        if row.degree is not None and row.unit in {"data", "data^2"}:
            assert row.degree == {"data": 1.0, "data^2": 2.0}[row.unit]


@EACH
def test_what_a_row_says_of_its_arguments_is_so(row: catalog.Row) -> None:
    parameters = inspect.signature(row.function).parameters
    assert ("generator" in parameters) or not row.random
    assert set(row.defaults) <= set(parameters)
    if row.inputs in {catalog.POINTS, catalog.ANGLES}:
        assert ("a" in parameters and "b" in parameters) or not row.weighted
    required = [
        name
        for name, p in list(parameters.items())[2:]
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    assert set(required) <= set(row.defaults)


@EACH
def test_a_module_is_its_function(row: catalog.Row) -> None:
    if row.name in FAMILIAR:
        module, options = FAMILIAR[row.name]
        x, y = sides(row)
        out = module(x, y)
        value = out[0] if isinstance(out, tuple) else out
        assert value.equal(row.function(x, y, **options))
        return
    kind = shell(row)
    for options in ({}, OPTIONS.get(row.name, {})):
        x, y = sides(row, logits="from_logits" in options)
        drawn = lambda: {"generator": torch.Generator().manual_seed(3)} if row.random else {}
        given = {**({} if "blur" in options else row.defaults), **options}
        expected = row.function(x, y, **given, **drawn())
        assert kind(**options, **drawn())(x, y).equal(expected)
        assert expected.shape == (2,)
        assert kind(**options, **drawn(), reduction="mean")(x, y).equal(expected.mean())
        assert kind(**options, **drawn(), reduction="sum")(x, y).equal(expected.sum())
        assert kind(**options, **drawn(), reduction=None)(x, y).equal(expected)
        if row.inputs in {catalog.POINTS, catalog.ANGLES} and "a" in inspect.signature(row.function).parameters:
            a = torch.arange(1.0, 10.0) / 45
            weighted = row.function(x, y, a=a, **given, **drawn())
            assert kind(**options, **drawn())(x, y, a=a).equal(weighted)
            assert not weighted.equal(expected)


def test_the_options_of_the_test_are_others_than_the_defaults() -> None:
    for name, options in OPTIONS.items():
        row = ROWS[name]
        x, y = sides(row, logits="from_logits" in options)
        one = {"generator": torch.Generator().manual_seed(3)} if row.random else {}
        other = {"generator": torch.Generator().manual_seed(3)} if row.random else {}
        given = {**({} if "blur" in options else row.defaults), **options}
        plain = (x.softmax(-1), y.softmax(-1)) if "from_logits" in options else (x, y)
        expected = row.function(*plain, **row.defaults, **one)
        assert "from_logits" in options or not row.function(x, y, **given, **other).equal(expected)


@EACH
def test_autocast_decides_no_distance(row: catalog.Row) -> None:
    x, y = sides(row)
    drawn = lambda: {"generator": torch.Generator().manual_seed(3)} if row.random else {}
    expected = row.function(x, y, **row.defaults, **drawn())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = row.function(x, y, **row.defaults, **drawn())
    assert value.dtype == expected.dtype
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)


def test_an_unknown_row_names_the_nearest() -> None:
    with pytest.raises(howfar.UnknownName, match=r"Did you mean 'sinkhorn_distance'\?"):
        catalog.row("sinkhorn_distanse")
