"""Two samples of one variable, counted in the same bins."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, ShapeError, complaint
from howfar.measure import Measure, measures

_MOST_BINS = 1000


class Histogram(NamedTuple):
    """Two samples in shared bins.

    Attributes:
        p: (..., k), the share of x in each bin.
        q: (..., k), the share of y.
        edges: (..., k + 1), increasing, in the units of the data.
    """

    p: Tensor
    q: Tensor
    edges: Tensor


def histogram(x: Any, y: Any, *, bins: Any = "auto", a: Any = None, b: Any = None) -> Histogram:
    """Shares of two one-dimensional samples in the same bins, ready for `kl`, `js` and the rest.

    Bins are shared because bins made for each sample apart would hide every shift between them. Each bin holds
    its left edge, the last one both. The shares are differentiable in the weights, and constant in the points.

    Args:
        x: (n,) or (..., n, 1).
        y: (m,) or (..., m, 1).
        bins: how many bins of equal width between the pooled minimum and maximum; or increasing edges (k + 1,),
            the outer ones infinite if they shall catch everything; or "auto": the rule of Freedman and Diaconis
            (1981) on the pooled sample, at least that of Sturges (1926), at most 1000.
        a: weights of x, (..., n); uniform when left out.
        b: weights of y, (..., m).

    Returns:
        p, q of shape (..., k) and the edges (..., k + 1).

    Raises:
        ShapeError: more than one column, or unequal batch axes.
        DomainError: edges that do not increase, or that leave points outside.

    Example:
        >>> import torch, howfar
        >>> p, q, edges = howfar.histogram(torch.tensor([0.0, 1, 2, 3]), torch.tensor([2.0, 3, 3, 4]), bins=4)
        >>> p, q
        (tensor([0.2500, 0.2500, 0.2500, 0.2500]), tensor([0.0000, 0.0000, 0.2500, 0.7500]))
        >>> howfar.tv(p, q)
        tensor(0.5000)
    """
    first, second = measures(x, y, a, b)
    if first.d != 1:
        fix = "Pass one column at a time, x[..., [i]]."
        raise ShapeError(complaint("x", "one feature, shape (n,) or (..., n, 1)", f"{first.d} features", fix))
    if (first.sizes or second.sizes) and isinstance(bins, str):
        fix = "Pass a count or edges, or one pair of clouds at a time."
        raise DomainError(complaint("bins", "a count or edges for clouds of different sizes", repr(bins), fix))
    left, right = first.points.squeeze(-1), second.points.squeeze(-1)
    pooled = torch.cat((left, right), -1).detach()
    edges = _edges(bins, pooled)
    return Histogram(_shares(left, first, edges, "x"), _shares(right, second, edges, "y"), edges)


def _edges(bins: Any, pooled: Tensor) -> Tensor:
    if isinstance(bins, str):
        _checks.check_choice(bins, "bins", ("auto",))
        return _even(pooled, _automatic(pooled))
    if not isinstance(bins, bool) and hasattr(bins, "__index__") and getattr(bins, "ndim", 0) == 0:
        return _even(pooled, _checks.check_count(bins, "bins"))
    edges = _checks.as_tensor(bins, "bins").to(pooled)
    if edges.ndim != 1 or edges.shape[0] < 2:
        fix = "Pass k + 1 increasing numbers for k bins."
        raise ShapeError(complaint("bins", "a count, or edges of shape (k + 1,)", f"shape {tuple(edges.shape)}", fix))
    if not bool((edges[1:] > edges[:-1]).all()):
        raise DomainError(complaint("bins", "edges that increase strictly", str(edges.tolist()), "Sort, drop repeats."))
    return edges.expand(*pooled.shape[:-1], -1)


def _even(pooled: Tensor, count: int) -> Tensor:
    low, high = pooled.amin(-1, keepdim=True), pooled.amax(-1, keepdim=True)
    # a bin narrower than the spacing of floats would be empty by rounding: a constant sample gets one unit around it
    narrow = high - low <= 4 * count * torch.finfo(pooled.dtype).eps * torch.maximum(low.abs(), high.abs())
    unit = torch.clamp_min(8 * count * torch.finfo(pooled.dtype).eps * low.abs(), 0.5)
    low, high = torch.where(narrow, low - unit, low), torch.where(narrow, high + unit, high)
    steps = torch.linspace(0.0, 1.0, count + 1, dtype=pooled.dtype, device=pooled.device)
    return torch.cat(((low + (high - low) * steps)[..., :-1], high), -1)


def _automatic(pooled: Tensor) -> int:
    """One count for the whole batch: the largest that a slice asks for."""
    n = pooled.shape[-1]
    ordered = pooled.sort(-1).values
    spread = ordered[..., (3 * n) // 4] - ordered[..., n // 4]
    reach = ordered[..., -1] - ordered[..., 0]
    width = 2.0 * spread / n ** (1 / 3)
    wanted = torch.where(width > 0, reach / torch.where(width > 0, width, 1.0), 1.0).clamp(1, _MOST_BINS).max()
    sturges = n.bit_length()
    return max(sturges, int(wanted.ceil()))


def _shares(values: Tensor, measure: Measure, edges: Tensor, name: str) -> Tensor:
    outside = (values < edges[..., :1]) | (values > edges[..., -1:])
    if not _checks.unseen(outside) and bool(outside.any()):
        example = values[outside][0].item()
        fix = "Put -inf and inf at the ends of bins to catch everything."
        got = f"{int(outside.sum())} points outside, such as {example:.6g}"
        raise DomainError(complaint(name, "points within the edges of bins", got, fix))
    k = edges.shape[-1] - 1
    index = torch.searchsorted(edges.contiguous(), values.contiguous(), right=True) - 1
    counts = torch.zeros(*values.shape[:-1], k, dtype=measure.weights.dtype, device=values.device)
    return counts.scatter_add(-1, index.clamp(0, k - 1), measure.weights)
