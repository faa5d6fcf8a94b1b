"""Transport between the Gaussian fits of two clouds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._autograd import first_order
from howfar._errors import ShapeError, complaint
from howfar.costs import safe_power
from howfar.measure import Measure, centred, measures
from howfar.optimal_transport.one_step import in_one_step


def gaussian_wasserstein(x: Any, y: Any, *, a: Any = None, b: Any = None, correction: int = 0) -> Tensor:  # (...)
    """W_2 between the Gaussians with the means and covariances of x and y, in units of the data.

    The square root of `frechet_distance`, with derivative 0 at distance 0. Arguments as there.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> howfar.gaussian_wasserstein(x, 3 * x)
        tensor(2.8284)
    """
    left, right, dtype = _checked(x, y, a, b, correction)
    root = in_one_step(lambda x, y: safe_power(_squared(x, y, correction), 0.5), left, right)
    return _checks.check_held(root.to(dtype))


def frechet_distance(x: Any, y: Any, *, a: Any = None, b: Any = None, correction: int = 0) -> Tensor:  # (...)
    """|m_x - m_y|^2 + tr(S_x + S_y - 2 (S_x^1/2 S_y S_x^1/2)^1/2), in squared units of the data.

    The squared Wasserstein distance of the Gaussian fits (Dowson & Landau 1982), known as FID on Inception
    features. Finite with finite derivatives when covariances are singular (fewer points than features, constant
    columns). Differentiable once in points and weights. Biased upwards by about 1 / n: compare equal sizes.

    Args:
        x: points (..., n, d).
        y: points (..., m, d).
        a: weights (..., n) of x, uniform when left out; they sum to one.
        b: weights (..., m) of y.
        correction: 0 for the covariance of the measure itself, 1 for the sample estimate that FID tools print.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> howfar.frechet_distance(x, x + 3)
        tensor(9.)
    """
    left, right, dtype = _checked(x, y, a, b, correction)
    square = in_one_step(lambda x, y: _squared(x, y, correction), left, right)
    return _checks.check_held(square.to(dtype), "squares")


def _checked(x: Any, y: Any, a: Any, b: Any, correction: int) -> tuple[Measure, Measure, torch.dtype]:
    """Both measures in float64 where the device has it, and the dtype in which they came."""
    correction = _checks.check_count(correction, "correction", least=0)
    given = measures(x, y, a, b)
    left, right = centred(*map(_wide, given))
    for measure, name in ((left, "x"), (right, "y")):
        fewest = int(measure.counts().min())
        if fewest <= correction:
            raise ShapeError(
                complaint(
                    name,
                    f"more than {correction} points for correction={correction}",
                    str(fewest),
                    "Use correction=0.",
                )
            )
    return left, right, given[0].points.dtype


def _squared(left: Measure, right: Measure, correction: int) -> Tensor:
    means = (left.mean() - right.mean()).square().sum(-1)
    spreads = _spread(left, correction), _spread(right, correction)
    for moment in (means, *(s.square().sum((-2, -1)) for s in spreads)):
        _checks.check_held(moment.detach(), "squares")
    return means + first_order("the Bures distance", _bures, *spreads)


def _wide(measure: Measure) -> Measure:
    """The measure in float64 where the device has it: the distance is a small difference of large moments."""
    return measure if measure.points.device.type == "mps" else measure.to(torch.float64)


def _spread(measure: Measure, correction: int) -> Tensor:
    """Rows sqrt(w_i) (x_i - mean), (..., n, d): their Gram matrix over features is the covariance."""
    counts = measure.counts().unsqueeze(-1)
    weights = measure.weights * (counts / (counts - correction))
    return safe_power(weights, 0.5).unsqueeze(-1) * (measure.points - measure.mean().unsqueeze(-2))


def _bures(x: Tensor, y: Tensor) -> Tensor:
    """|X|^2 + |Y|^2 - 2 |X Y^T|_nuclear for (..., n, d) and (..., m, d).

    The nuclear norm is the largest <X Y^T, Z> over |Z| <= 1. At the maximiser Z, held fixed, both its value and its
    derivative are those of this linear form, which needs no derivative of an eigenvector.
    """
    with torch.no_grad():
        x_basis, x_root = _polar(x)
        y_basis, y_root = _polar(y)
        u, _, vh = torch.linalg.svd(x_root @ y_root)
        rotation = u @ vh
    overlap = ((x_basis.mT @ x) @ (y_basis.mT @ y).mT * rotation).sum((-2, -1))
    distance: Tensor = x.square().sum((-2, -1)) + y.square().sum((-2, -1)) - 2 * overlap
    return distance


def _polar(x: Tensor) -> tuple[Tensor, Tensor]:
    """X = B R with B^T B a projection and R = (X^T X)^1/2, both by the singular values of X."""
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    basis = torch.where((s > s[..., :1] * 1e-12).unsqueeze(-2), u, 0) @ vh
    return basis, (vh.mT * s.unsqueeze(-2)) @ vh
