"""Several clouds and how much each counts: the front door of barycentres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, ShapeError, complaint
from howfar.measure import Measure


def weighted_clouds(clouds: Any, weights: Any, a: Any) -> tuple[list[Measure], Tensor]:
    """The clouds as measures of one batch shape, and the share (K,) of each, which sum to one."""
    if isinstance(clouds, Tensor | str) or not isinstance(clouds, Sequence):
        raise DomainError(complaint("clouds", "a list of clouds", type(clouds).__name__, "Pass [x1, x2, ...]."))
    if not clouds:
        raise ShapeError(complaint("clouds", "one cloud at least", "none", "Pass [x1, x2, ...]."))
    masses = [None] * len(clouds) if a is None else list(a)
    if len(masses) != len(clouds):
        raise ShapeError(
            complaint("a", f"{len(clouds)} weightings, one for each cloud", str(len(masses)), "Pass None for uniform.")
        )
    sides = [
        Measure.of(x, w, name=f"clouds[{i}]", weights_name=f"a[{i}]")
        for i, (x, w) in enumerate(zip(clouds, masses, strict=True))
    ]
    batch = sides[0].batch
    for i, side in enumerate(sides[1:], 1):
        _checks.check_same_space(sides[0].points, side.points, "clouds[0]", f"clouds[{i}]")
        batch = _checks.check_batch(batch, side.batch, "clouds[0]", f"clouds[{i}]")
    share = torch.full((len(sides),), 1 / len(sides), dtype=torch.float64)
    if weights is not None:
        share = _checks.as_tensor(weights, "weights")
        if share.shape != (len(sides),):
            raise ShapeError(
                complaint(
                    "weights",
                    f"{len(sides)} numbers, one for each cloud",
                    f"shape {tuple(share.shape)}",
                    "Pass one number each.",
                )
            )
        _checks.check_distribution(share, "weights")
    return [side.expand(batch) for side in sides], share
