"""Temperatures of a ragged batch have derivatives too."""

import pytest
import torch

from howfar import ops

D = torch.float64


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_the_derivative_in_each_temperature(backend):
    x, y, h = torch.randn(5, 3, dtype=D), torch.randn(6, 3, dtype=D), torch.zeros(6, dtype=D)
    eps = torch.tensor([0.5, 1.3], dtype=D, requires_grad=True)
    out = ops.softmin(x, y, h, eps=eps, offsets=([0, 2, 5], [0, 4, 6]), backend=backend)
    alone = ops.softmin(x[:2], y[:4], h[:4], eps=eps[0]).sum() + ops.softmin(x[2:], y[4:], h[4:], eps=eps[1]).sum()
    torch.testing.assert_close(out.sum(), alone)
    (got,), (expected,) = torch.autograd.grad(out.sum(), eps), torch.autograd.grad(alone, eps)
    torch.testing.assert_close(got, expected)
