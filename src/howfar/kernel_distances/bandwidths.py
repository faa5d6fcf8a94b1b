"""From a kernel's name and a bandwidth rule to a kernel object.

Every rule looks at the pooled points only, never at which cloud a point came from, so a permutation test may use it.
A bandwidth is a constant of the kernel: no derivative flows into it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from howfar import _checks, kernels
from howfar._errors import DomainError, complaint
from howfar.measure import Measure

MOST_POINTS_FOR_MEDIAN = 2048
"""Beyond, pairs of a subsample stand for all pairs: two million of them fix a median to about one part in a thousand."""


@dataclass(frozen=True)
class MultiBandwidth:
    """Several bandwidths around the mean squared distance: the rule of the domain-adaptation literature.

    `base`, in units of the squared data, is the mean of |z_i - z_j|^2 over all pairs i != j of the pooled points.
    Bandwidth i of `num` is `base / mul**(num // 2) * mul**i`, its kernel exp(-|x - y|^2 / bandwidth_i), that is
    s_i = sqrt(bandwidth_i / 2), and the kernels are summed, not averaged (Long et al. 2015).

    Attributes:
        mul: ratio of two neighbouring bandwidths.
        num: how many bandwidths.
        base: a fixed base in place of the data's own ("fix_sigma" elsewhere, although it is a square).

    Example:
        >>> import torch
        >>> from howfar.kernel_distances import MultiBandwidth
        >>> MultiBandwidth(num=3, base=4.0).squares(torch.zeros(1, 2))
        (2.0, 4.0, 8.0)
    """

    mul: float = 2.0
    num: int = 5
    base: float | None = None

    def __post_init__(self) -> None:
        """Refuse ratios and bases <= 0 and an empty family."""
        object.__setattr__(self, "mul", _checks.check_positive(self.mul, "mul"))
        object.__setattr__(self, "num", _checks.check_count(self.num, "num"))
        if self.base is not None:
            object.__setattr__(self, "base", _checks.check_positive(self.base, "base", unit="squared data"))

    def squares(self, points: Tensor, weights: Tensor | None = None) -> tuple[float | Tensor, ...]:
        """The bandwidths, in units of the squared data, each a number or (...), for pooled points (..., N, d)."""
        base = mean_squared_distance(points, weights) if self.base is None else self.base
        return tuple(base * self.mul ** (i - self.num // 2) for i in range(self.num))


Bandwidth: TypeAlias = float | Tensor | str | MultiBandwidth | Iterable[float]


def pooled(p: Measure, q: Measure) -> tuple[Tensor, Tensor | None]:
    """All points (..., n + m, d), and how much each counts (..., n + m): None when all count alike.

    Without weights each point counts once. With weights a cloud counts as its effective size 1 / sum a_i^2, shared
    out by weight, so that points of weight zero (padding) have no say.
    """
    points = torch.cat([p.points, q.points], -2).detach()
    if p.uniform and q.uniform:
        return points, None
    counts = [w / w.square().sum(-1, keepdim=True) for w in (p.weights.detach(), q.weights.detach())]
    return points, torch.cat(counts, -1)


def mean_squared_distance(points: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of |z_i - z_j|^2 over pairs i != j, (...), from the variance: no pairs are formed. One if all coincide.

    Example:
        >>> mean_squared_distance(torch.tensor([[0.0], [1.0], [3.0]]))
        tensor(4.6667)
    """
    points = points.detach()
    size = points.new_tensor(points.shape[-2]) if weights is None else weights.sum(-1)
    shares = points.new_full((), 1 / points.shape[-2]) if weights is None else weights / size.unsqueeze(-1)
    centred = points - points.mean(-2, keepdim=True)
    centred = centred - (shares[..., None] * centred).sum(-2, keepdim=True)
    spread = (shares[..., None] * centred.square()).sum((-2, -1))
    # n effective points have n (n - 1) pairs, and the sum over all n^2 ordered pairs is 2 n^2 spread.
    mean = 2 * spread * size / (size - 1)
    return torch.where(mean > 0, mean, 1)


def median_distance(
    points: Tensor,  # (..., N, d), pooled
    weights: Tensor | None = None,  # (..., N), how much each point counts
) -> Tensor:  # (...)
    """Median Euclidean distance over pairs i < j of pooled points: the bandwidth that needs no choice.

    In the units of the data. An even number of pairs takes the mean of the middle two. More than 2048 points are
    thinned to every k-th. Where more than half of the pairs coincide, the mean of the positive distances stands in,
    and one where all points coincide: any bandwidth is right there, since every discrepancy is zero.

    Example:
        >>> import torch
        >>> from howfar.kernel_distances import median_distance
        >>> median_distance(torch.tensor([[0.0], [1.0], [4.0]]))
        tensor(3.)
    """
    points = points.detach()
    clouds = points.reshape(-1, *points.shape[-2:])
    if weights is None:
        medians = [middle(_distances(_thinned(cloud))) for cloud in clouds]
    else:
        if _checks.unseen(points) or _checks.unseen(weights):
            fix = "Pass a number, or the batch itself, (..., n, d)."
            raise DomainError(complaint("bandwidth", "a number, for weights inside of vmap", "'median'", fix))
        counts = weights.detach().expand(points.shape[:-1]).reshape(clouds.shape[:-1])
        medians = [
            _weighted_middle(_thinned(cloud[w > 0]), _thinned(w[w > 0]))
            for cloud, w in zip(clouds, counts, strict=True)
        ]
    return torch.stack(medians).reshape(points.shape[:-2])


def _distances(cloud: Tensor) -> Tensor:
    """(P,) those of all pairs i < j."""
    if not _checks.unseen(cloud):
        return torch.pdist(cloud)
    rows, columns = torch.triu_indices(len(cloud), len(cloud), 1, device=cloud.device)
    # `torch.func.vmap` has a rule for cdist, and maps pdist element by element, with a warning.
    return torch.cdist(cloud, cloud, compute_mode="donot_use_mm_for_euclid_dist")[rows, columns]


def _thinned(rows: Tensor) -> Tensor:
    return rows[:: math.ceil(len(rows) / MOST_POINTS_FOR_MEDIAN)]


def middle(distances: Tensor) -> Tensor:
    """The median of distances (P,), or the mean of the positive ones where it is zero, or one where all are."""
    count = distances.shape[0]
    if count == 0:
        return distances.new_ones(())
    upper = distances.kthvalue(count // 2 + 1).values
    median = upper if count % 2 else (distances.kthvalue(count // 2).values + upper) / 2
    return _never_zero(median, distances, torch.ones_like(distances))


def _weighted_middle(cloud: Tensor, weights: Tensor) -> Tensor:
    rows, columns = torch.triu_indices(len(cloud), len(cloud), 1, device=cloud.device)
    if rows.shape[0] == 0:
        return cloud.new_ones(())
    distances, order = torch.pdist(cloud).sort()
    counts = (weights[rows] * weights[columns])[order]
    below = counts.double().cumsum(0)
    half = (below[-1] / 2).reshape(1)
    # Rounding of the weights must not decide whether a pair ends exactly at half.
    slack = half * 1e-6
    lower, upper = (
        distances[torch.searchsorted(below, target).clamp_max(len(distances) - 1)][0]
        for target in (half - slack, half + slack)
    )
    return _never_zero((lower + upper) / 2, distances, counts)


def _never_zero(median: Tensor, distances: Tensor, counts: Tensor) -> Tensor:
    positive = torch.where(distances > 0, counts, 0)
    total = positive.sum()
    mean = torch.where(total > 0, (positive * distances).sum() / torch.where(total > 0, total, 1), 1)
    return torch.where(median > 0, median, mean)


def resolve(
    kernel: str | kernels.Kernel | Iterable[kernels.Kernel], bandwidth: Bandwidth, p: Measure, q: Measure
) -> kernels.Kernel:
    """The kernel object for two measures."""
    return resolve_pooled(kernel, bandwidth, *pooled(p, q))


def resolve_pooled(
    kernel: str | kernels.Kernel | Iterable[kernels.Kernel],
    bandwidth: Bandwidth,
    points: Tensor,  # (..., N, d)
    weights: Tensor | None = None,  # (..., N)
) -> kernels.Kernel:
    """The kernel object of a name, with its width by rule from pooled points; an object carries its own width."""
    if isinstance(kernel, str) and kernel in kernels.KERNELS and "s" in kernels.KERNELS[kernel].__dataclass_fields__:
        return _with_bandwidth(kernel, bandwidth, points, weights)
    resolved = kernels.resolve(kernel)
    if not (isinstance(bandwidth, str) and bandwidth == "median"):
        what = f"the {kernel!r} kernel, which has none" if isinstance(kernel, str) else "a kernel object"
        fix = "Leave bandwidth out: only kernels named 'gaussian', 'laplacian', 'imq', 'rational_quadratic' take it."
        raise DomainError(complaint("bandwidth", f"nothing beside {what}", repr(bandwidth), fix))
    return resolved


def _with_bandwidth(kernel: str, bandwidth: Bandwidth, points: Tensor, weights: Tensor | None) -> kernels.Kernel:
    """The named kernel with a width by rule from pooled points (..., N, d), by number, or summed over several."""
    if isinstance(bandwidth, str):
        _checks.check_choice(bandwidth, "bandwidth", ("median",))
        return kernels.resolve(kernel, median_distance(points, weights))
    if isinstance(bandwidth, MultiBandwidth):
        return kernels.Sum(tuple(kernels.resolve(kernel, (v / 2) ** 0.5) for v in bandwidth.squares(points, weights)))
    if isinstance(bandwidth, Tensor) and bandwidth.ndim:
        _checks.check_batch(points.shape[:-2], bandwidth.shape, "x and y", "bandwidth")
        return kernels.resolve(kernel, bandwidth)
    if isinstance(bandwidth, Iterable) and not isinstance(bandwidth, Tensor):
        widths = tuple(_checks.check_positive(s, "bandwidth", unit="in units of the data") for s in bandwidth)
        if not widths:
            raise DomainError(complaint("bandwidth", "at least one number", "none", "Pass a number, or 'median'."))
        return kernels.Sum(tuple(kernels.resolve(kernel, s) for s in widths))
    return kernels.resolve(kernel, _checks.check_positive(bandwidth, "bandwidth", unit="in units of the data"))
