"""One row for each distance: the only list of what exists.

The command line, the module shells, the docs and the conformance suite are made from it. Adding a distance is one
function in its family and one row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from howfar import adversarial, f_divergences, kernel_distances, optimal_transport
from howfar._errors import unknown_name

POINTS = "points"
ANGLES = "angles"
PROBABILITIES = "probabilities"
SCORES = "scores"


@dataclass(frozen=True)
class Row:
    """What is known of one distance before it is called.

    Attributes:
        name: of the function, `howfar.<name>`, and on the command line.
        family: one of the four.
        inputs: "points" (x, y of shape (..., n, d)), "angles" (points of one feature, on a circle), "probabilities" (p, q of shape (..., k)) or "scores" of a
            critic (real=, fake=).
        function: the function; of an objective, what makes it.
        unit: of the number: "data", "data^2", "cost", "nats" or "none".
        summary: one line.
        defaults: options that the function needs and that suit any data.
        symmetric: d(x, y) = d(y, x).
        nonnegative: never below zero, up to rounding.
        zero_on_equal: zero between equal measures.
        weighted: takes weights a, b, and a repeated point is a point of twice the weight.
        degree: d(t x, t y) = t ** degree d(x, y), or None where no such law holds.
        translation_invariant: unchanged when both clouds move together.
        second_order: whether second derivatives exist too; where they do not, asking for them raises.
        random: takes a `generator`.
    """

    name: str
    family: str
    inputs: str
    function: Callable[..., Any]
    unit: str
    summary: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    symmetric: bool = True
    nonnegative: bool = True
    zero_on_equal: bool = True
    weighted: bool = True
    degree: float | None = None
    translation_invariant: bool = True
    second_order: bool = True
    random: bool = False


def _transport(name: str, function: Callable[..., Any], unit: str, summary: str, **laws: Any) -> Row:
    return Row(name, "optimal transport", POINTS, function, unit, summary, **laws)


def _kernel(name: str, function: Callable[..., Any], unit: str, summary: str, **laws: Any) -> Row:
    return Row(name, "kernel distances", POINTS, function, unit, summary, **laws)


def _divergence(name: str, function: Callable[..., Any], unit: str, summary: str, **laws: Any) -> Row:
    return Row(name, "f-divergences", PROBABILITIES, function, unit, summary, **laws)


_ROWS = (
    _transport(
        "wasserstein",
        optimal_transport.wasserstein,
        "data",
        "exact Wasserstein distance: the least mean (p-th power) distance that mass has to travel",
        degree=1.0,
    ),
    Row(
        "circle_wasserstein",
        "optimal transport",
        ANGLES,
        optimal_transport.circle_wasserstein,
        "data",
        "exact Wasserstein distance on a circle: of angles, hours, phases",
    ),
    _transport(
        "sinkhorn_divergence",
        optimal_transport.sinkhorn_divergence,
        "cost",
        "entropic transport, debiased: a smooth loss between Wasserstein and the distance of the means",
        defaults={"eps": "auto"},
        degree=2.0,
    ),
    _transport(
        "sinkhorn_distance",
        optimal_transport.sinkhorn_distance,
        "cost",
        "transport cost of the entropic plan; not zero between equal clouds",
        defaults={"eps": "auto"},
        zero_on_equal=False,
        degree=2.0,
    ),
    _transport(
        "sliced_wasserstein",
        optimal_transport.sliced_wasserstein,
        "data",
        "Wasserstein distance on the line, averaged over directions",
        degree=1.0,
        random=True,
    ),
    _transport(
        "max_sliced_wasserstein",
        optimal_transport.max_sliced_wasserstein,
        "data",
        "Wasserstein distance on the line, along the direction in which it is largest",
        degree=1.0,
        second_order=False,
        random=True,
    ),
    _transport(
        "gaussian_wasserstein",
        optimal_transport.gaussian_wasserstein,
        "data",
        "Wasserstein distance between the Gaussian fits: means and covariances only",
        degree=1.0,
        second_order=False,
    ),
    _transport(
        "frechet_distance",
        optimal_transport.frechet_distance,
        "data^2",
        "its square, known as FID on Inception features",
        degree=2.0,
        second_order=False,
    ),
    _kernel(
        "energy_distance",
        kernel_distances.energy_distance,
        "data",
        "2 E|X-Y| - E|X-X'| - E|Y-Y'|: no parameter to choose, zero only between equal distributions",
        degree=1.0,
    ),
    _kernel(
        "mmd2",
        kernel_distances.mmd2,
        "none",
        "squared maximum mean discrepancy, unbiased: may fall below zero when the distributions are equal",
        nonnegative=False,
        zero_on_equal=False,
        weighted=False,
    ),
    _kernel(
        "mmd",
        kernel_distances.mmd,
        "none",
        "its root, zero where the estimate is negative",
        weighted=False,
    ),
    _kernel(
        "multi_kernel_mmd",
        kernel_distances.multi_kernel_mmd,
        "none",
        "MMD^2 summed over five bandwidths around the mean distance, as widely copied in domain adaptation",
        weighted=False,
        degree=0.0,
    ),
    _divergence("kl", f_divergences.kl, "nats", "Kullback-Leibler divergence of p from q", symmetric=False),
    _divergence("reverse_kl", f_divergences.reverse_kl, "nats", "Kullback-Leibler of q from p", symmetric=False),
    _divergence("js", f_divergences.js, "nats", "Jensen-Shannon divergence, at most log 2"),
    _divergence("jeffreys", f_divergences.jeffreys, "nats", "the sum of both Kullback-Leibler divergences"),
    _divergence("tv", f_divergences.tv, "none", "total variation: the largest difference of a probability"),
    _divergence("hellinger", f_divergences.hellinger, "none", "squared Hellinger distance, at most 1"),
    _divergence("chi2", f_divergences.chi2, "none", "Pearson's chi-squared divergence", symmetric=False),
    _divergence("neyman_chi2", f_divergences.neyman_chi2, "none", "Neyman's, with q and p exchanged", symmetric=False),
    _divergence("triangular", f_divergences.triangular, "none", "sum of (p - q)^2 / (p + q)"),
    _divergence(
        "alpha_divergence",
        f_divergences.alpha_divergence,
        "none",
        "the family that joins reverse KL (0), Hellinger (1/2), KL (1) and chi-squared (2)",
        defaults={"alpha": 0.5},
        symmetric=False,
    ),
    _divergence(
        "renyi",
        f_divergences.renyi,
        "nats",
        "Renyi divergence of order alpha",
        defaults={"alpha": 0.5},
        symmetric=False,
    ),
    *(
        Row(
            f"adversarial:{objective.name}",
            "adversarial",
            SCORES,
            partial(adversarial.objective, objective.name),
            "none",
            f"critic and generator losses; the critic's optimum tells {objective.divergence}",
            symmetric=False,
            nonnegative=False,
            zero_on_equal=False,
            weighted=False,
        )
        for objective in adversarial.OBJECTIVES.values()
    ),
)

CATALOG: Mapping[str, Row] = MappingProxyType({row.name: row for row in _ROWS})
"""Every row by its name."""


def rows() -> tuple[Row, ...]:
    """Every row, in the order of the families."""
    return _ROWS


def row(name: str) -> Row:
    """The row of this name.

    Raises:
        UnknownName: no row has it; the nearest name is in the message.

    Example:
        >>> row("js").unit
        'nats'
    """
    if name not in CATALOG:
        raise unknown_name("name", name, CATALOG)
    return CATALOG[name]
