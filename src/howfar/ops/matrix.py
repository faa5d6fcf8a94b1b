"""Reductions of an explicit cost matrix on the compiled kernels: over its columns or over its rows, without a copy.

Derivatives use p_ij = exp((h_j + out_i - C_ij) / eps): that in C is one matrix of the size of C, and sums over the other
side are averages that the soft minimum of that side has in its pass.
"""

from __future__ import annotations

import torch
from torch import Tensor

from howfar import _native
from howfar.ops import compiled, temperature

_MOST_NEIGHBOURS = 128
_WORK = 14
"""Operations for an entry, beside one for each value."""
_COLUMNS = 512
"""Pieces of columns are multiples of what a thread takes together."""
_FLATTEST = {torch.float32: 1e-30, torch.float64: 1e-290}
"""The temperature whose reciprocal stays finite in base 2."""


def why_unavailable(C: Tensor, eps: Tensor | None = None, *others: Tensor, k: int = 1) -> str | None:
    """Why these tensors go another way; None where they can be reduced here."""
    if C.dtype not in _FLATTEST or any(t.dtype != C.dtype for t in others):
        return f"it takes float32 or float64 of one kind, and C is {C.dtype}"
    if k > _MOST_NEIGHBOURS:
        return f"it finds up to {_MOST_NEIGHBOURS} neighbours"
    if temperature.moves(eps):
        return "the temperature is differentiated in"
    reason = compiled.why_not_these(C, *others) or _native.why_no_kernels()
    if reason is None and eps is not None and float(eps.min()) < _FLATTEST[C.dtype]:
        return "the temperature is below what it divides by"
    return reason


def softmin(
    C: Tensor, over_rows: bool, h: Tensor, eps: Tensor, v: Tensor | None = None, *, cost: bool = False
) -> tuple[Tensor, Tensor]:
    """(..., own), (..., own, q + cost): the soft minimum, and averages of v and then of C under its weights."""
    own = C.shape[-1] if over_rows else C.shape[-2]
    q = 0 if v is None else v.shape[-1]
    out = C.new_empty(*C.shape[:-2], own)
    averages = C.new_empty(*C.shape[:-2], own, q + cost)
    held = {"h": (h, 1)} if v is None else {"h": (h, 1), "v": (v, 2)}
    _run("matrix_softmin", C, over_rows, held, eps, {"out": out, "averages": averages}, q=q, cost=cost)
    return out, averages


def nearest(C: Tensor, over_rows: bool, h: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(..., own, k): the smallest C - h over the other side, and their indices; ties by the smaller index."""
    own = C.shape[-1] if over_rows else C.shape[-2]
    out = C.new_empty(*C.shape[:-2], own, k)
    indices = torch.empty_like(out, dtype=torch.int64)
    _run("matrix_nearest", C, over_rows, {"h": (h, 1)}, None, {"out": out, "indices": indices}, k=k)
    return out, indices


def gradient(
    C: Tensor, over_rows: bool, h: Tensor, v: Tensor | None, eps: Tensor, out: Tensor, grad: Tensor, wanted: list[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The vector-Jacobian product of (value, averages of v) in C, h and v; `out` and `grad` are (..., own, 1 + q)."""
    by_value, by_averages = grad[..., 0], grad[..., 1:]
    sharp = by_averages / eps[..., None, None]
    constant = (by_value + (sharp * out[..., 1:]).sum(-1)).unsqueeze(-1)
    by_matrix = by_h = by_v = None
    if wanted[0]:
        ones = torch.ones_like(h).unsqueeze(-1)
        terms = (constant, ones) if v is None else (torch.cat([constant, -sharp], -1), torch.cat([ones, v], -1))
        by_matrix = _gibbs(C, over_rows, out[..., 0], h, eps, *terms)
    if any(wanted[1:]):
        sums = _sums(C, over_rows, out[..., 0], h, eps, torch.cat([constant, by_averages], -1))
        by_v = sums[..., 1:]
        by_h = -sums[..., 0] if v is None else (by_v * v).sum(-1) / eps.unsqueeze(-1) - sums[..., 0]
    return by_matrix, by_h, by_v


def gradient_of_cost(
    C: Tensor, over_rows: bool, h: Tensor, eps: Tensor, out: Tensor, grad: Tensor, wanted: list[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The same of the average cost, in C and h; `out` is (..., own, 2): the soft minimum, and that average."""
    sharp = grad / eps.unsqueeze(-1)
    ones = torch.ones_like(h)
    left = torch.stack([grad + sharp * out[..., 1], -sharp], -1)
    by_matrix = _gibbs(C, over_rows, out[..., 0], h, eps, left, torch.stack([ones, ones], -1), tilt=True)
    by_h = None
    if wanted[1]:
        by_h = _sums(C, over_rows, out[..., 0], h, eps, grad.unsqueeze(-1))[..., 0] - by_matrix.sum(
            -1 if over_rows else -2
        )
    return by_matrix, by_h


def _sums(C: Tensor, over_rows: bool, f: Tensor, h: Tensor, eps: Tensor, v: Tensor) -> Tensor:
    """sum_i p_ij v_i: (..., other, q), as mass times average."""
    value, averages = softmin(C, not over_rows, f, eps, v)
    return torch.exp((h - value) / eps.unsqueeze(-1)).unsqueeze(-1) * averages


def _gibbs(
    C: Tensor, over_rows: bool, f: Tensor, h: Tensor, eps: Tensor, left: Tensor, right: Tensor, *, tilt: bool = False
) -> Tensor:
    """(..., n, m): p_ij <left_i, right_j>; with a tilt the last term is times C_ij. f and left belong to the own side."""
    if over_rows:
        f, h, left, right = h, f, right, left
    out = torch.empty_like(C, memory_format=torch.contiguous_format)
    held = {"f": (f, 1), "h": (h, 1), "left": (left, 2), "right": (right, 2)}
    _run("matrix_gibbs", C.contiguous(), False, held, eps, {"out": out}, r=left.shape[-1], tilt=tilt)
    return out


def _run(
    kernel: str,
    C: Tensor,
    over_rows: bool,
    inputs: dict[str, tuple[Tensor, int]],
    eps: Tensor | None,
    outputs: dict[str, Tensor],
    **settings: int,
) -> None:
    """One reduction, in pieces short enough to be interrupted."""
    if not C.is_contiguous() and C.mT.is_contiguous():
        C, over_rows = C.mT, not over_rows
    batch, (n, m) = C.shape[:-2], C.shape[-2:]
    own = m if over_rows else n
    held = {"c": compiled.flat(C, 2)}
    for name, (tensor, axes) in inputs.items():
        held[name] = compiled.flat(tensor.to(C.dtype).expand(*batch, *tensor.shape[-axes:]), axes)
    scale = torch.ones(()) if eps is None else 1 / eps.double()
    scales = scale.double().expand(batch).contiguous()
    call = _native.Matrix(
        batch=1, n=n, m=m, over_rows=over_rows, threads=_native.threads(),
        **settings, **{f"{name}_step": step for name, (_, step) in held.items()},
    )  # fmt: skip
    work = (_WORK + settings.get("q", 0) + settings.get("r", 0)) * (n * m // own) * (C.dtype.itemsize / 4)
    piece = compiled.in_time(work / call.threads)
    piece = max(_COLUMNS, piece // _COLUMNS * _COLUMNS)
    problems = max(1, piece // own)
    for b in range(0, batch.numel(), problems):
        call.batch = min(problems, batch.numel() - b)
        for name, (tensor, step) in held.items():
            setattr(call, name, tensor.data_ptr() + b * step * C.dtype.itemsize)
        for name, tensor in outputs.items():
            if tensor.numel():
                setattr(call, name, tensor.data_ptr() + b * (tensor.numel() // batch.numel()) * tensor.dtype.itemsize)
        call.scale = scales.data_ptr() + 8 * b
        for begin in range(0, own, piece):
            call.begin, call.end = begin, min(begin + piece, own)
            _native.call(kernel, C.dtype == torch.float32, call)
