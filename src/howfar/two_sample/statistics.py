"""Statistics of two samples under many labellings at once: energy distance, MMD, MMD-FUSE.

Each is a function of the pooled points and of the labels, and whatever else it needs (bandwidths) it takes from the
pooled points alone. That is what makes a permutation test exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from howfar import _checks, kernels
from howfar._errors import ShapeError, complaint
from howfar._progress import tell
from howfar.costs import CityBlock, squared_distances
from howfar.kernel_distances import bandwidths
from howfar.two_sample.pair_sums import BLOCK_ELEMENTS, Shared, pair_sums


def energy_null(
    points: Any,  # (N, d)
    labels: Tensor,  # (N, B)
    *,
    exponent: float = 1.0,
) -> Tensor:  # (B,) float64
    """`energy_distance(points[labels[:, b]], points[~labels[:, b]])` for every column b; O(N B) memory.

    Example:
        >>> import torch
        >>> from howfar.two_sample import energy_null, permutations
        >>> energy_null(torch.tensor([0.0, 1.0, 5.0]), permutations(1, 2, 9))
        tensor([4.0000, 2.5000, 8.5000], dtype=torch.float64)
    """
    points = _points(points, labels)
    kernel = kernels.Energy(exponent)
    if points.shape[1] == 1 and kernel.exponent == 1:
        return energy_null_1d(points[:, 0], labels)
    _checks.check_extent(points, points)
    (sums,) = pair_sums(points, labels, [_alone(kernel)])
    nothing = torch.zeros_like(sums.xx)
    return sums.biased(nothing, nothing).clamp_min(0)


def energy_null_1d(
    values: Any,  # (N,)
    labels: Tensor,  # (N, B)
) -> Tensor:  # (B,) float64
    """`energy_null` on the line with exponent 1: one sort for all columns, then running counts of labels."""
    values = _points(values, labels)[:, 0]
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    ordered, order = values.sort()
    labels = labels.to(values.device)
    n_values, n = len(values), labels.sum(0).to(wide)
    gaps = ordered.to(wide).diff()
    counted = torch.zeros_like(n)
    total = torch.zeros_like(n)
    step = max(1, BLOCK_ELEMENTS // 8 // labels.shape[1])
    for start in range(0, n_values - 1, step):
        tell("sorted points", start / n_values)
        rows = slice(start, min(start + step, n_values - 1))
        below = labels[order[rows]].to(wide).cumsum_(0).add_(counted)
        counted = below[-1].clone()
        rank = torch.arange(rows.start + 1, rows.stop + 1, device=values.device, dtype=wide)
        # n m (F - G) / N: the labels below, less their expected number.
        below.addcmul_(rank.unsqueeze(1), (n / n_values).unsqueeze(0), value=-1)
        total += gaps[rows] @ below.square_()
    return 2 * total * (n_values / (n * (n_values - n))).square()


def mmd2_null(
    points: Any,  # (N, d)
    labels: Tensor,  # (N, B)
    *,
    kernel: str | kernels.Kernel | Iterable[kernels.Kernel] = "gaussian",
    bandwidth: bandwidths.Bandwidth = "median",
    estimator: str = "unbiased",
    generator: torch.Generator | None = None,
) -> Tensor:  # (B,) float64
    """`mmd2` of every labelling, with one bandwidth for all of them from the pooled points; O(N B) memory.

    Beyond 2048 points the median is that of a random subset: a subset by position would depend on the labels.
    """
    points = _points(points, labels)
    _checks.check_choice(estimator, "estimator", ("unbiased", "biased"))
    _checks.check_extent(points, points, kernel.highest_power if isinstance(kernel, kernels.Kernel) else 2.0)
    resolved = bandwidths.resolve_pooled(kernel, bandwidth, random_rows(points, generator))
    if estimator == "unbiased":
        _two_on_each_side(labels)
    (sums,) = pair_sums(points, labels, [_alone(resolved)])
    if estimator == "unbiased":
        return sums.unbiased()
    diagonal = resolved.diagonal(points).to(sums.xx.dtype)
    own_x = diagonal @ labels.to(diagonal)
    return sums.biased(own_x, diagonal.sum() - own_x).clamp_min(0)


def mmd_fuse_null(
    points: Any,  # (N, d)
    labels: Tensor,  # (N, B)
    *,
    n_bandwidths: int = 10,
    generator: torch.Generator | None = None,
) -> Tensor:  # (B,) float64
    """MMD-FUSE of every labelling: a soft maximum of standardised MMDs over many kernels; no unit.

    Biggs, Schrab, Gretton, "MMD-FUSE: learning and combining kernels for two-sample testing without data splitting",
    NeurIPS 2023: (1 / l) log mean_k exp(l t_k) with t_k = r (r - 1) mmd2_k / sqrt(sum_{i != j} k(z_i, z_j)^2), r the
    smaller sample size, l = sqrt(r (r - 1)), mmd2_k unbiased. The kernels are Gaussians exp(-|x - y|^2 / (2 s^2)) and
    Laplacians exp(-sqrt(2) |x - y|_1 / s), each with `n_bandwidths` widths s spaced evenly from half the 5 % quantile
    to twice the 95 % quantile of the pooled distances in its norm.
    """
    points = _points(points, labels)
    _checks.check_count(n_bandwidths, "n_bandwidths")
    _checks.check_extent(points, points)
    _two_on_each_side(labels)
    sums = pair_sums(points, labels, fuse_kernels(random_rows(points, generator), n_bandwidths))
    smaller = torch.minimum(sums[0].n, sums[0].m)
    scale = smaller * (smaller - 1)
    tiny = torch.finfo(scale.dtype).tiny
    standardised = torch.stack([scale * s.unbiased() / s.squares.clamp_min(tiny).sqrt() for s in sums])
    sharpness = scale.sqrt()
    return (torch.logsumexp(sharpness * standardised, 0) - math.log(len(sums))) / sharpness


def fuse_kernels(points: Tensor, n_bandwidths: int) -> list[Shared]:
    """Gaussians on the Euclidean distance and Laplacians on the 1-norm, widths from the pooled distances."""
    euclidean, cityblock = (_widths(torch.pdist(points, p), n_bandwidths) for p in (2, 1))
    d = points.shape[1]
    gaussians = tuple(partial(kernels.Gaussian(s).profile, features=d) for s in euclidean)
    laplacians = tuple(
        partial(kernels.Laplacian(s / math.sqrt(2), norm="cityblock").profile, features=d) for s in cityblock
    )
    return [(squared_distances, gaussians), (CityBlock().matrix, laplacians)]


def random_rows(points: Tensor, generator: torch.Generator | None) -> Tensor:
    """At most as many rows as a median needs, chosen without looking at labels."""
    if len(points) <= bandwidths.MOST_POINTS_FOR_MEDIAN:
        return points
    device = None if generator is None else generator.device
    order = torch.randperm(len(points), generator=generator, device=device)
    return points[order[: bandwidths.MOST_POINTS_FOR_MEDIAN].to(points.device)]


def _widths(distances: Tensor, count: int) -> list[float]:
    distances = torch.where(distances > 0, distances, bandwidths.middle(distances))
    low, high = (float(distances.kthvalue(1 + int(len(distances) * q)).values) for q in (0.05, 0.95))
    return [float(s) for s in torch.linspace(low / 2, high * 2, count, dtype=torch.float64)]


def _alone(kernel: kernels.Kernel) -> Shared:
    return kernel.matrix, (lambda values: values,)


def _points(points: Any, labels: Tensor) -> Tensor:
    checked = _checks.check_points(points, "points").detach()
    cloud = checked.to(torch.promote_types(checked.dtype, torch.float32))
    if cloud.ndim != 2:
        raise ShapeError(
            complaint("points", "one cloud (N, d)", f"shape {tuple(cloud.shape)}", "Test one batch element at a time.")
        )
    if labels.ndim != 2 or labels.shape[0] != len(cloud):
        raise ShapeError(
            complaint(
                "labels",
                f"shape ({len(cloud)}, B), one row per pooled point",
                f"{tuple(labels.shape)}",
                "Pass True where a pooled point is called x, one column per labelling.",
            )
        )
    return cloud


def _two_on_each_side(labels: Tensor) -> None:
    n = labels.sum(0)
    fewest = int(torch.minimum(n, len(labels) - n).min())
    if fewest < 2:
        raise ShapeError(
            complaint(
                "x and y",
                "at least 2 points on either side in every labelling",
                f"{fewest}",
                "Pass statistic='energy_distance', which single points have too.",
            )
        )
