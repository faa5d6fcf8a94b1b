"""First derivatives of the soft minimum, of averages and of the average cost, as sums over pairs on the compiled kernels.

Each is sum_ij w_ij dc_ij for weights w_ij = p_ij (factor of the pair), p_ij = exp((f_i + h_j - c_ij) / eps), and sums of
w_ij over one side; soft_minimum/README.md derives the factors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from howfar.ops import compiled
from howfar.ops.compiled import Base, Clouds


@dataclass(frozen=True)
class Factor:
    """<left_i, right_j>, less c_ij / eps where `tilted`.

    Attributes:
        left: (..., n, r), or None for a factor of one, or of zero where it is tilted.
        right: (..., m, r).
        tilted: whether the cost is taken off.
    """

    left: Tensor | None = None
    right: Tensor | None = None
    tilted: bool = False

    def swapped(self) -> Factor:
        """The same, roles exchanged."""
        return Factor(self.right, self.left, self.tilted)


@dataclass(frozen=True)
class Weighting:
    """The weights w_ij of all pairs.

    Attributes:
        clouds: the points.
        f: (..., n), in units of the cost.
        h: (..., m).
        eps: (...).
        factor: of a pair.
    """

    clouds: Clouds
    f: Tensor
    h: Tensor
    eps: Tensor
    factor: Factor = Factor()

    def swapped(self) -> Weighting:
        """The same, roles exchanged."""
        return Weighting(self.clouds.swapped(), self.h, self.f, self.eps, self.factor.swapped())

    def sums(self, v: Tensor) -> Tensor:
        """sum_j w_ij v_j: (..., n, q)."""
        return self._run(self._plain() if self.factor.tilted else self.clouds, v, slope=False, pull=False)

    def sums_and_pulls(self, base: Base, v: Tensor) -> tuple[Tensor, Tensor]:
        """sum_j w_ij v_j (..., n), and sum_j w_ij v_j dc_ij / dx_i (..., n, d) in the units that the clouds are in.

        v: (..., m).
        """
        clouds = self._plain() if self.factor.tilted else self.clouds
        sums = self._run(clouds, v.unsqueeze(-1), slope=base.exponent != 1, pull=True)
        return sums[..., 0], sums[..., 1:] * (clouds.factor / clouds.unit)

    def _plain(self) -> Clouds:
        """The clouds in a form whose tiles are costs."""
        return replace(self.clouds, form="difference") if self.clouds.form == "product" else self.clouds

    def _run(self, clouds: Clouds, v: Tensor, *, slope: bool, pull: bool) -> Tensor:
        f, h = self.f, self.h
        if clouds.factor != 1:
            f, h = (t.to(clouds.x.dtype) / clouds.factor for t in (f, h))
        factor = self.factor
        return compiled.run(
            "gibbs", clouds, scale=clouds.factor / self.eps.double(), f=f, h=h, v=v, slope=slope,
            left=factor.left, right=factor.right, tilt=factor.tilted, pull=pull,
        )[0]  # fmt: skip


def of_points(base: Base, weighting: Weighting, x: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """sum_j w_ij columns_j, and sum_j rows_i w_ij columns_j dc_ij / dx_i, for the points x (..., n, d) that came in."""
    sums, pulls = weighting.sums_and_pulls(base, columns)
    pulled = rows.unsqueeze(-1) * pulls
    return sums, compiled.through_directions(x, pulled) if base.directions else pulled
