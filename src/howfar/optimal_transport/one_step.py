"""A distance of two measures as one step to `torch.func`, which cannot follow an iteration that looks at numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from howfar import _checks
from howfar._autograd import opaque
from howfar._errors import DerivativeUnavailable, complaint
from howfar.costs import Cost
from howfar.measure import Measure
from howfar.ops import spelling


def in_one_step(
    distance: Callable[..., Tensor], x: Measure, y: Measure, *others: Tensor, cost: Cost | None = None
) -> Tensor:
    """`distance(x, y, *others)`, (...), for measures and other inputs of one batch shape, and the cost that it uses."""
    if not _checks.differentiated_otherwise():
        return distance(x, y, *others)
    if cost is not None and spelling.spell(cost, []) is None:
        if not torch._C._are_functorch_transforms_active():
            return distance(x, y, *others)
        # What a callable closes over is no input of the step: a derivative in it would be lost.
        expected = "a cost of howfar.costs inside of torch.func, which does not see what another one holds"
        fix = "Call it outside, and take derivatives by torch.autograd.grad."
        raise DerivativeUnavailable(complaint("cost", expected, repr(cost.name), fix))

    def value(u: Tensor, v: Tensor, a: Tensor, b: Tensor, *others: Tensor) -> Tensor:
        return distance(replace(x, points=u, weights=a), replace(y, points=v, weights=b), *others)

    return opaque(value, x.points, y.points, x.weights, y.weights, *others)
