"""The three reductions as others do them; imported only by their name, and only when they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

ROWS = 256
"""Of a block of plain torch: the fastest of 64 to 2048 on common processors."""


def in_blocks(rows: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of rows, on as many of them at once as stay in cache."""
    return torch.cat([rows(block) for block in x.split(ROWS)])


def dense_softmin(x: Tensor, y: Tensor, h: Tensor, eps: float) -> Tensor:
    """What a reader of the formula writes."""
    return -eps * torch.logsumexp((h - torch.cdist(x, y).square()) / eps, dim=-1)


def blocked_softmin(x: Tensor, y: Tensor, h: Tensor, eps: float) -> Tensor:
    """The best of plain torch: the biased product of a block, and its log-sum-exp."""
    centre = y.mean(0)
    x, y = x - centre, y - centre
    scaled, bias = (y * (2 / eps)).T.contiguous(), (h - y.square().sum(1)) / eps
    return x.square().sum(1) - eps * in_blocks(lambda b: torch.logsumexp(torch.addmm(bias, b, scaled), 1), x)


def attention_softmin(x: Tensor, y: Tensor, h: Tensor, eps: float) -> Tensor:
    """Torch's own flash attention on the CPU for the log-sum-exp that it keeps: keys [y, bias], queries [2 x / eps, 1]."""
    centre = y.mean(0)
    x, y = x - centre, y - centre
    keys = torch.cat([y, (h - y.square().sum(1)).unsqueeze(1) / eps], 1)[None, None]
    queries = torch.cat([x * (2 / eps), torch.ones_like(x[:, :1])], 1)[None, None]
    flash = torch._scaled_dot_product_flash_attention_for_cpu
    return x.square().sum(1) - eps * flash(queries, keys, keys, 0.0, False, scale=1.0)[1].reshape(-1)


def keops_softmin(x: Tensor, y: Tensor, h: Tensor, eps: float) -> Tensor:
    """By a compiled symbolic reduction."""
    lazy = _lazy()
    scores = (lazy(h[None, :, None]) - keops_distances(x, y)) / eps
    return -eps * scores.logsumexp(dim=1).squeeze(-1)


def dense_gaussian(x: Tensor, y: Tensor, w: Tensor, s: float) -> Tensor:
    """What a reader of the formula writes."""
    return torch.exp(torch.cdist(x, y).square() / (-2 * s * s)) @ w


def blocked_gaussian(x: Tensor, y: Tensor, w: Tensor, s: float) -> Tensor:
    """The best of plain torch: the biased product of a block, its exponential, a product with the weights."""
    centre = y.mean(0)
    x, y = x - centre, y - centre
    scaled, bias = (y / (s * s)).T.contiguous(), y.square().sum(1) / (-2 * s * s)
    own = x.square().sum(1, keepdim=True) / (-2 * s * s)
    rows = zip(x.split(ROWS), own.split(ROWS), strict=True)
    return torch.cat([torch.addmm(bias, b, scaled).add_(o).exp_() @ w for b, o in rows])


def keops_gaussian(x: Tensor, y: Tensor, w: Tensor, s: float) -> Tensor:
    """By a compiled symbolic reduction."""
    return (keops_distances(x, y) / (-2 * s * s)).exp() @ w


def blocked_nearest(x: Tensor, y: Tensor, k: int) -> Tensor:
    """Indices (n, k) by plain torch."""
    return in_blocks(lambda b: torch.cdist(b, y).topk(k, largest=False).indices, x)


def keops_nearest(x: Tensor, y: Tensor, k: int) -> Tensor:
    """Indices (n, k) by a compiled symbolic reduction."""
    found: Tensor = keops_distances(x, y).argKmin(k, dim=1)
    return found


def sklearn_nearest(x: Tensor, y: Tensor, k: int) -> Tensor:
    """Indices (n, k) by scikit-learn's brute force."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(y.numpy())
    return torch.from_numpy(search.kneighbors(x.numpy(), return_distance=False))


def tree_nearest(x: Tensor, y: Tensor, k: int) -> Tensor:
    """Indices (n, k) by SciPy's k-d tree, which does not go over all pairs."""
    from scipy.spatial import cKDTree

    found = cKDTree(y.numpy()).query(x.numpy(), k=k, workers=torch.get_num_threads())[1]
    return torch.from_numpy(found).reshape(len(x), k)


def keops_distances(x: Tensor, y: Tensor) -> Any:
    """The symbolic |x_i - y_j|^2."""
    lazy = _lazy()
    return ((lazy(x[:, None, :]) - lazy(y[None, :, :])) ** 2).sum(-1)


def _lazy() -> Any:
    import pykeops
    from pykeops.torch import LazyTensor

    pykeops.set_verbose(False)
    return LazyTensor
