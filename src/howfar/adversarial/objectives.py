"""The table of adversarial objectives, from which the docs, the command line and the tests are made.

Adding an objective: a class in `games.py` with its two losses, its estimate and its optimum, and one row here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from howfar._errors import DomainError, complaint, unknown_name
from howfar.adversarial.f_gan import NAMES, variational_form
from howfar.adversarial.games import (
    FGAN,
    EnergyBased,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    Objective,
    RelativisticAverage,
    RelativisticPaired,
    Wasserstein,
)


@dataclass(frozen=True)
class Row:
    """One objective as the docs, the command line and the tests know it.

    Attributes:
        name: what `objective(name)` and the command line take.
        make: makes it; keyword arguments are its options.
        divergence: what `estimate` reports with the optimal critic.
        optimum: that critic, in terms of the densities p and q.
        source: the paper.
        aliases: other names that users know it by.
    """

    name: str
    make: Callable[..., Objective]
    divergence: str
    optimum: str
    source: str
    aliases: tuple[str, ...] = ()


_NOWOZIN = "Nowozin, Cseke, Tomioka 2016"
_PARAMETERS: dict[str, dict[str, Any]] = {"alpha": {"alpha": 0.5}, "weighted_js": {"pi": 0.5}}

_ROWS = (
    Row("minimax", Minimax, "JS(P, Q)", "log(p/q)", "Goodfellow et al. 2014"),
    Row("non-saturating", NonSaturating, "JS(P, Q)", "log(p/q)", "Goodfellow et al. 2014", ("bce", "logistic")),
    Row(
        "least-squares", LeastSquares, "int (p - q)^2 / (p + q)", "(b p + a q) / (p + q)", "Mao et al. 2017", ("lsgan",)
    ),
    Row("hinge", Hinge, "TV(P, Q)", "sign(p - q)", "Lim, Ye 2017"),
    Row("wasserstein", Wasserstein, "W_1(P, Q)", "a Kantorovich potential", "Arjovsky et al. 2017", ("wgan",)),
    Row("energy-based", EnergyBased, "TV(P, Q)", "0 where p > q, else -margin", "Zhao et al. 2017", ("ebgan",)),
    Row(
        "relativistic-paired",
        RelativisticPaired,
        "JS(P x Q, Q x P)",
        "log(p/q) + constant",
        "Jolicoeur-Martineau 2018",
        ("rpgan",),
    ),
    Row(
        "relativistic-average",
        RelativisticAverage,
        "the relativistic average divergence",
        "no closed form",
        "Jolicoeur-Martineau 2018",
        ("ragan",),
    ),
    *(
        Row(
            f"fgan:{name}",
            partial(FGAN, name, **_PARAMETERS.get(name, {})),
            variational_form(name, **_PARAMETERS.get(name, {})).divergence,
            "f'(p/q) through the activation",
            _NOWOZIN,
        )
        for name in NAMES
    ),
)

OBJECTIVES: dict[str, Row] = {row.name: row for row in _ROWS}
"""Every objective by its name."""

_BY_ALIAS = {alias: row for row in _ROWS for alias in (row.name, *row.aliases)}


def objective(name: str | Objective, **options: Any) -> Objective:
    """The objective of this name or alias with these options; an objective is returned as it is.

    Raises:
        UnknownName: no objective has this name.
        DomainError: an option that this objective does not have, or a bad value of one.

    Example:
        >>> from howfar import adversarial
        >>> adversarial.objective("bce", label_smoothing=0.1)
        NonSaturating(label_smoothing=0.1, two_sided=False)
    """
    if isinstance(name, Objective):
        return name
    row = _BY_ALIAS.get(name)
    if row is None:
        raise unknown_name("name", name, _BY_ALIAS)
    try:
        return row.make(**options)
    except TypeError as error:
        raise DomainError(complaint("options", f"options of {row.name!r}", repr(options), f"{error}.")) from None
