"""The contract of the kernel sum: checks, backend, derivatives."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from howfar import _checks, costs, kernels
from howfar._errors import ShapeError, complaint
from howfar.ops import backends
from howfar.ops.kernel_summation import cpu, reference
from howfar.ops.precision import working
from howfar.ops.reduction import Formula, Reduction


def kernel_sum(
    x: Any,  # (..., n, d)
    y: Any,  # (..., m, d)
    w: Any,  # (..., m) or (..., m, B)
    *,
    kernel: str | kernels.Kernel | costs.Cost,
    backend: str = "auto",
) -> Tensor:  # (..., n) or (..., n, B)
    """sum_j k(x_i, y_j) w_j, one number (or B of them) for each row of x.

    Linear memory; exact first and second derivatives in x, y and w.

    Args:
        x: points (..., n, d).
        y: points (..., m, d).
        w: weights (..., m), or B columns of them (..., m, B): with a batch axis in x or y, w has the batch axis
            too; w is read as columns when it has one axis more than the points have batch axes plus one.
        kernel: a name, or an object of `howfar.kernels`; a cost object sums costs.
        backend: "auto", "reference", "cpu" or "triton"; an explicit name never falls back.

    Raises:
        ShapeError: shapes that do not fit.
        DomainError: non-finite points or weights.
        BackendUnavailable: the named backend cannot run here.

    Example:
        >>> import torch, howfar
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> howfar.ops.kernel_sum(x, x, torch.ones(2), kernel=howfar.kernels.Energy())
        tensor([-1., -1.])
    """
    x, y = _checks.check_points(x, "x"), _checks.check_points(y, "y")
    _checks.check_same_space(x, y)
    given = w = _checks.as_tensor(w, "w")
    _checks.check_same_kind(x, w, "x", "w")
    _checks.check_finite(w, "w", "Give a point that does not count the weight 0.")
    m = y.shape[-2]
    batch = _checks.check_batch(x.shape[:-2], y.shape[:-2], "x", "y")
    columns = w.ndim > len(batch) + 1
    w = w if columns or w.ndim == 0 else w.unsqueeze(-1)
    if w.ndim == 0 or w.shape[-2] != m:
        raise ShapeError(
            complaint(
                "w",
                f"shape (..., {m}) or (..., {m}, B), one row for each point of y",
                f"{tuple(given.shape)}",
                "Pass w of that shape.",
            )
        )
    batch = _checks.check_batch(batch, w.shape[:-2], "x", "w")
    _checks.check_choice(backend, "backend", backends.BACKENDS)
    summand = kernel if isinstance(kernel, costs.Cost) else kernels.resolve(kernel)
    if batch:
        x, y, w = (t.expand(*batch, *t.shape[-2:]) for t in (x, y, w))
    out = kernel_sum_of(x, y, w, summand, backend)
    return out if columns else out.squeeze(-1)


def kernel_sum_of(x: Tensor, y: Tensor, w: Tensor, summand: kernels.Kernel | costs.Cost, backend: str) -> Tensor:
    """`kernel_sum` of tensors of one batch shape that were checked, w in columns."""
    (x, y, w), dtype = working(x, y, w)
    return _KERNEL_SUM(x, y, w, summand=summand, backend=backend).to(dtype)


_KERNEL_SUM = Reduction(
    Formula(
        "kernel_sum",
        ("x", "y", "w"),
        "bandwidths",
        "kernel",
        axis=-2,
        shape=lambda inputs, _kernel: (*inputs[0].shape[:-1], inputs[2].shape[-1]),
        rows=lambda x, y, w, _bandwidths, kernel: reference.kernel_sum(x, y, w, kernel),
        why=cpu.why_unavailable,
        forward=lambda keep, x, y, w, _bandwidths, kernel: cpu.forward(keep, x, y, w, kernel),
        gradient=lambda wanted, grad, inputs, _kept, _bandwidths, kernel: cpu.gradient(wanted, grad, inputs, kernel),
    )
)
