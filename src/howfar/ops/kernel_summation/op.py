"""The contract of the kernel sum: checks, backend, derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from howfar import _checks, costs, kernels
from howfar._errors import DomainError, ShapeError, complaint
from howfar.ops import backends, ragged, spelling
from howfar.ops.kernel_summation import cpu, reference
from howfar.ops.precision import cast, working
from howfar.ops.reduction import Formula, Reduction
from howfar.ops.spelling import Summand


def kernel_sum(
    x: Any,  # (..., n, d)
    y: Any,  # (..., m, d)
    w: Any,  # (..., m) or (..., m, B)
    *,
    kernel: str | kernels.Kernel | kernels.Stack | costs.Cost,
    backend: str = "auto",
    offsets: tuple[Any, Any] | None = None,
) -> Tensor:  # (..., n) or (..., n, B); (..., K, n) or (..., K, n, B) of a stack
    """sum_j k(x_i, y_j) w_j, one number (or B of them) for each row of x.

    Linear memory; exact first and second derivatives in x, y and w.

    Args:
        x: points (..., n, d).
        y: points (..., m, d).
        w: weights (..., m), or B columns of them (..., m, B): with a batch axis in x or y, w has the batch axis
            too; w is read as columns when it has one axis more than the points have batch axes plus one.
        kernel: a name, or an object of `howfar.kernels`; a cost object sums costs. `kernels.Sum` and, with a result for
            each of its K kernels, `kernels.Stack` compute what their kernels share once.
        backend: "auto", "reference", "cpu" or "triton"; an explicit name never falls back.
        offsets: (x_offsets, y_offsets), each (B + 1,) integers, for a ragged batch: x (N, d), y (M, d) and w (M,) or
            (M, q) are then concatenations, and problem b pairs the rows between its offsets.

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
    if offsets is not None:
        return _ragged(x, y, w, kernel, backend, offsets)
    x, y = _checks.check_points(x, "x", finite=False), _checks.check_points(y, "y", finite=False)
    batch = _checks.check_same_space(x, y)
    summand = kernel if isinstance(kernel, costs.Cost | kernels.Stack) else kernels.resolve(kernel)
    _checks.check_distances(x, y, summand.highest_power)
    given = w = _checks.as_tensor(w, "w")
    _checks.check_same_kind(x, w, "x", "w")
    _checks.check_finite(w, "w", "Give a point that does not count the weight 0.")
    m = y.shape[-2]
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
    if batch:
        x, y, w = (t.expand(*batch, *t.shape[-2:]) for t in (x, y, w))
    out = kernel_sum_of(x, y, w, summand, backend)
    return out if columns else out.squeeze(-1)


def kernel_sum_of(x: Tensor, y: Tensor, w: Tensor, summand: Summand, backend: str) -> Tensor:
    """`kernel_sum` of tensors of one batch shape that were checked, w in columns."""
    (x, y, w), dtype = working(x, y, w)
    return cast(_KERNEL_SUM(x, y, w, summand=summand, backend=backend), dtype)


def _shape(inputs: Sequence[Tensor], summand: Summand) -> tuple[int, ...]:
    x, _, w = inputs
    stacked = (len(summand.kernels),) if isinstance(summand, kernels.Stack) else ()
    return (*x.shape[:-2], *stacked, x.shape[-2], w.shape[-1])


_KERNEL_SUM = Reduction(
    Formula(
        "kernel_sum",
        ("x", "y", "w"),
        "bandwidths",
        "kernel",
        axis=-2,
        shape=_shape,
        rows=lambda x, y, w, _bandwidths, kernel: reference.kernel_sum(x, y, w, kernel),
        why=cpu.why_unavailable,
        forward=lambda keep, x, y, w, _bandwidths, kernel: cpu.forward(keep, x, y, w, kernel),
        gradient=lambda wanted, grad, inputs, _kept, _bandwidths, kernel: cpu.gradient(wanted, grad, inputs, kernel),
    )
)


def _ragged(x: Any, y: Any, w: Any, kernel: str | Summand, backend: str, offsets: tuple[Any, Any]) -> Tensor:
    x, y = _checks.check_points(x, "x", finite=False), _checks.check_points(y, "y", finite=False)
    w = _checks.as_tensor(w, "w")
    _checks.check_same_space(x, y)
    _checks.check_same_kind(x, w, "x", "w")
    checked = ragged.check_offsets(offsets, x, y)
    if w.ndim not in (1, 2) or len(w) != len(y):
        expected, fix = (
            f"shape ({len(y)},) or ({len(y)}, q) beside offsets",
            "Concatenate the weights: torch.cat(weights).",
        )
        raise ShapeError(complaint("w", expected, f"{tuple(w.shape)}", fix))
    if isinstance(kernel, kernels.Stack):
        got, fix = f"a stack of {len(kernel.kernels)}", "Call it once for each of them."
        raise DomainError(complaint("kernel", "one kernel, or a sum of kernels, beside offsets", got, fix))
    _checks.check_choice(backend, "backend", backends.BACKENDS)
    summand = kernel if isinstance(kernel, costs.Cost) else kernels.resolve(kernel)
    _checks.check_distances(x, y, summand.highest_power)
    _checks.check_finite(w, "w", "Give a point that does not count the weight 0.")
    bandwidths: list[Tensor] = []
    spelling.spell(summand, bandwidths)
    if bandwidths:
        got, fix = f"bandwidths of shape {tuple(bandwidths[0].shape[:-2])}", "Call it once for each problem."
        raise ShapeError(complaint("kernel", "one bandwidth for all problems beside offsets", got, fix))
    (x, y, w), dtype = working(x, y, w)
    native = None
    reason = lambda: cpu.why_unavailable(summand, x, y, w)
    if backends.choose(backend, "kernel_sum", x.device, reason) == "cpu":
        native = _of_columns(summand, checked)
    each = lambda _, x, y, w: kernel_sum(x, y, w, kernel=summand, backend=backend)
    return cast(ragged.solve(each, checked, x, y, w, native=native), dtype)


def _of_columns(summand: Summand, offsets: ragged.Offsets) -> tuple[Callable[..., Tensor], ragged.Gradient]:
    """The value and the derivative of all problems on the compiled kernels, for w with columns or without."""

    def column(w: Tensor) -> Tensor:
        return w if w.ndim == 2 else w.unsqueeze(-1)

    def value(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
        out, _ = cpu.forward(False, x, y, column(w), summand, offsets)
        return out if w.ndim == 2 else out.squeeze(-1)

    def gradient(wanted: tuple[bool, ...], grad: Tensor, _: Tensor, *inputs: Tensor) -> tuple[Tensor | None, ...]:
        x, y, w = inputs
        found = cpu.gradient(tuple(wanted), column(grad), (x, y, column(w)), summand, offsets)
        assert found is not None
        return *found[:2], None if found[2] is None else found[2].reshape(w.shape)

    return value, gradient
