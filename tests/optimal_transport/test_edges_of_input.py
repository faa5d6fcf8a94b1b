"""Inputs at the edges: half precision, empty batches, numbers that overflow."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

import howfar

DISTANCES = {
    "exact": lambda x, y: howfar.transport(x, y).value,
    "entropic": lambda x, y: howfar.transport(x, y, eps=0.5).value,
    "divergence": lambda x, y: howfar.sinkhorn_divergence(x, y, blur=0.7),
    "unbalanced": lambda x, y: howfar.sinkhorn_divergence(x, y, blur=0.7, reach=1.0),
    "distance": lambda x, y: howfar.sinkhorn_distance(x, y, eps="auto"),
    "wasserstein": howfar.wasserstein,
    "line": lambda x, y: howfar.wasserstein(x[..., :1], y[..., :1]),
    "sliced": lambda x, y: howfar.sliced_wasserstein(x, y, directions=torch.eye(2, dtype=x.dtype)),
    "gaussian": howfar.gaussian_wasserstein,
    "frechet": howfar.frechet_distance,
}


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_the_points_and_nothing_else(name, dtype):
    """A uniform weight of 1 / 99 in half precision would give the cloud another mass."""
    x, y = torch.randn(99, 2).to(dtype), (torch.randn(77, 2) + 1).to(dtype)
    expected = DISTANCES[name](x.float(), y.float())
    got = DISTANCES[name](x, y)
    assert_close(got.float(), expected.to(got.dtype).float(), rtol=1e-5, atol=0)
