"""The geometry that suits two clouds and a cost."""

from __future__ import annotations

import torch
from torch import Tensor

from howfar.costs import Cost
from howfar.geometry.dense import DenseCost
from howfar.geometry.point_cloud import PointCloud
from howfar.geometry.protocol import Geometry


def between(x: Tensor, y: Tensor, cost: Cost, backend: str = "auto") -> Geometry:
    """A streamed cloud, or a matrix where the cost is a callable with parameters of its own to learn.

    A derivative reaches what a callable closes over only through a matrix that is in the graph.
    """
    if not cost.batched and torch.is_grad_enabled():
        batch = (0,) * (x.ndim - 2)
        if cost.matrix(x[batch][:1].detach(), y[batch][:1].detach()).requires_grad:
            return DenseCost(cost.matrix(x, y))
    return PointCloud(x, y, cost, backend)
