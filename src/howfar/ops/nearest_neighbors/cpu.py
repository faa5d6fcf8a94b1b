"""The nearest neighbours on the compiled kernels, for plain float32 and float64 tensors.

Candidates are screened in the working precision and evaluated in double from the points, so the indices are those of
float64 whatever the input."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from howfar import _native
from howfar.costs import Cost
from howfar.ops import compiled
from howfar.ops.compiled import Base, Offsets
from howfar.ops.precision import cast

MOST = 128
"""Neighbours that a sorted list per row is the right thing for."""
_FEW_FEATURES = 8
"""Up to here differences cost little, and the margin of their rounding is small beside every distance."""


_FEW_ROWS = 16
"""Up to here the centre and the norms of y cost more than a product saves."""


def why_unavailable(cost: Cost, k: int, *tensors: Tensor) -> str | None:
    """Why this cost on these tensors goes another way; None where it can be computed here."""
    base = compiled.base_of(cost)
    if isinstance(base, str):
        return base
    if k > MOST:
        return f"it keeps up to {MOST} neighbours of each point, and k is {k}"
    return compiled.why_not_these(*tensors) or _native.why_no_kernels()


def nearest(
    x: Tensor, y: Tensor, h: Tensor | None, k: int, cost: Cost, offsets: Offsets | None = None
) -> tuple[Tensor, Tensor]:
    """The k smallest c(x_i, y_j) - h_j in rising order and their j, ties by the smaller j: (..., n, k) twice."""
    base = compiled.base_of(cost)
    assert isinstance(base, Base)
    clouds = compiled.arrange(base, x, y, None, offsets=offsets)
    if base.kind == "squared":
        product = base.exponent == 1 and x.shape[-1] > _FEW_FEATURES and x.shape[-2] > _FEW_ROWS
        given = base.directions or clouds.unit != 1
        left, right = (clouds.x, clouds.y) if given else (x, y)
        form = "product" if product else "difference"
        if form != clouds.form or left is not clouds.x or right is not clouds.y:
            clouds = replace(clouds, x=left, y=right, form=form)
    if h is not None and clouds.factor != 1:
        h = h.to(clouds.x.dtype) / clouds.factor
    values, indices = compiled.run("nearest", clouds, scale=(1.0,), h=h, k=k)
    assert indices is not None
    return cast(values * clouds.factor if clouds.factor != 1 else values, x.dtype), indices
