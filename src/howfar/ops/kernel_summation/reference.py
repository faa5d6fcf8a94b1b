"""The specification of the kernel sum: plain torch on the rows of x that it is given."""

from __future__ import annotations

from torch import Tensor

from howfar.costs import Cost
from howfar.kernels import Kernel, Stack


def kernel_sum(x: Tensor, y: Tensor, w: Tensor, kernel: Kernel | Stack | Cost) -> Tensor:
    """sum_j k(x_i, y_j) w_jb: (..., n, d), (..., m, d), (..., m, B) -> (..., n, B), of a stack (..., K, n, B)."""
    return kernel.matrix(x, y).to(w.dtype) @ (w.unsqueeze(-3) if isinstance(kernel, Stack) else w)
