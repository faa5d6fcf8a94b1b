"""Two modules in the shape of those that are copied from project to project, with the mathematics put right."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from howfar import _checks, kernel_distances, optimal_transport
from howfar.costs import SqEuclidean
from howfar.geometry import PointCloud
from howfar.measure import measures
from howfar.nn.distances import check_reduction, reduced


class SinkhornDistance(nn.Module):
    """Entropic transport between uniform clouds, returning (cost, P, C).

    cost = <P, C> of the entropic plan for C_ij = |x_i - y_j|^2, in squared units of the data; P (..., n, m) is the
    plan and C (..., n, m) the cost matrix. All three are differentiable once. Unlike the module this one is named
    after, it iterates until the marginals of P are those of the clouds, and warns when `max_iter` did not suffice.

    Args:
        eps: entropic strength, in squared units of the data.
        max_iter: most iterations.
        reduction: "none" (or None) for one cost for each batch element, "mean" or "sum".
        tol: L1 error of the marginals at which to stop; 1e-6 in float64 and 1e-4 in float32 when left out.
        potential_tol: stop by the rule of the copied module instead: plain updates from zero until the potential
            of x changes by less than this in L1. It promises nothing about P: numbers below the exact transport
            cost, which no coupling has, come from it.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
        >>> cost, P, C = howfar.nn.SinkhornDistance(eps=0.1, max_iter=100)(x, x + torch.tensor([0.0, 1.0]))
        >>> cost, P.shape, C.shape
        (tensor(1.), torch.Size([2, 2]), torch.Size([2, 2]))
    """

    def __init__(
        self,
        eps: float,
        max_iter: int,
        reduction: str | None = "none",
        *,
        tol: float | None = None,
        potential_tol: float | None = None,
    ) -> None:
        """Check the options."""
        super().__init__()
        self.eps = _checks.check_positive(eps, "eps", unit="in squared units of the data")
        self.solver = optimal_transport.Sinkhorn(tol=tol, max_iter=max_iter, potential_tol=potential_tol)
        self.reduction = check_reduction(reduction)

    def forward(self, x: Any, y: Any) -> tuple[Tensor, Tensor, Tensor]:
        """(cost, P, C) for points (..., n, d) and (..., m, d)."""
        left, right = optimal_transport.widened(*measures(x, y))
        geometry = PointCloud(left.points, right.points, SqEuclidean())
        result = optimal_transport.solve_geometry(geometry, left.weights, right.weights, self.eps, self.solver)
        return reduced(result.cost, self.reduction), result.plan(), geometry.matrix()

    def extra_repr(self) -> str:
        """The options."""
        return f"eps={self.eps}, max_iter={self.solver.max_iter}, reduction={self.reduction!r}"


class MMDLoss(nn.Module):
    """Squared MMD, biased, with the sum of `kernel_num` Gaussian kernels around the mean squared distance.

    The bandwidths are base / kernel_mul^(kernel_num // 2) * kernel_mul^i with base the mean squared distance of
    the pooled points (or `fix_sigma`), and each kernel is exp(-|x - y|^2 / bandwidth). Equals
    `howfar.mmd2(x, y, estimator="biased", bandwidth=howfar.MultiBandwidth(...))`, for any numbers of points.

    Args:
        kernel_mul: ratio of neighbouring bandwidths.
        kernel_num: how many.
        fix_sigma: the base, in squared units of the data, instead of the one from the data.

    Example:
        >>> import torch, howfar
        >>> howfar.nn.MMDLoss()(torch.tensor([[1, 2, 3]]), torch.tensor([[1, 1, 2]]))
        tensor(6.1863)
    """

    def __init__(self, kernel_mul: float = 2.0, kernel_num: int = 5, fix_sigma: float | None = None) -> None:
        """Check the options."""
        super().__init__()
        self.bandwidth = kernel_distances.MultiBandwidth(mul=kernel_mul, num=kernel_num, base=fix_sigma)

    def forward(self, source: Any, target: Any) -> Tensor:
        """(...) for points (..., n, d) and (..., m, d)."""
        return kernel_distances.mmd2(source, target, bandwidth=self.bandwidth, estimator="biased")

    def extra_repr(self) -> str:
        """The options."""
        return f"kernel_mul={self.bandwidth.mul}, kernel_num={self.bandwidth.num}, fix_sigma={self.bandwidth.base}"
