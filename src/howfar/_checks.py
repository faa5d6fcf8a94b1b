"""Every check of user input, once: arrays become tensors, tensors become points and weights.

Checks that look at values (finite, non-negative) are skipped while `torch.compile` traces and under
`torch.func.vmap`, because a branch on data would break the graph.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor

from howfar._errors import DerivativeUnavailable, DomainError, ShapeError, complaint, unknown_name

T = TypeVar("T")

_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)
"""Types that torch stores but hardly computes with."""
_WORDS = {"O": "objects", "U": "text", "S": "bytes", "M": "dates", "m": "durations"}
"""Kinds of arrays that hold no numbers."""
_WEIGHT_SUM_TOLERANCE = 1e-4
"""Wide enough for weights typed to four digits and for finite differences, narrow enough to catch counts."""


def as_tensor(value: Any, name: str) -> Tensor:
    """A tensor from a tensor, a number, a sequence, or anything that speaks DLPack or the array interface.

    Integers and booleans are promoted to the default float dtype, as torch itself promotes them, unless
    a value would not survive the promotion.
    """
    if isinstance(value, Tensor):
        tensor = value
    elif hasattr(value, "__dlpack__") and not _is_beyond_tensors(value):
        try:
            tensor = torch.utils.dlpack.from_dlpack(value)
        except (BufferError, RuntimeError, TypeError, ValueError):
            tensor = _copied(value, name)
    else:
        tensor = _copied(value, name)
    if tensor.is_complex():
        raise DomainError(
            complaint(name, "real numbers", str(tensor.dtype), "Pass x.real, or real and imaginary parts as features.")
        )
    if tensor.is_floating_point():
        return tensor
    return _promoted(tensor, name)


def _is_beyond_tensors(value: Any) -> bool:
    """Whether an array is read-only or runs backwards, which no tensor can: handing such strides over ends the process."""
    if getattr(getattr(value, "flags", None), "writeable", True) is False:
        return True
    strides = getattr(value, "strides", None)
    return isinstance(strides, tuple) and any(step < 0 for step in strides)


def _copied(value: Any, name: str) -> Tensor:
    fix = "Pass a tensor, a numpy array or nested lists of numbers."
    kind = type(value).__name__
    try:
        import numpy as np

        array = np.array(value)
        if array.dtype == object or array.dtype.kind in "USMm":
            if array.ndim:
                kind = f"{kind} of {_WORDS[array.dtype.kind]}"
            raise TypeError
        if array.dtype == np.float64 and isinstance(value, list | tuple):
            return torch.from_numpy(array).to(torch.get_default_dtype())
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))
    except ValueError:
        raise ShapeError(complaint(name, "numbers", f"{kind} whose rows differ in length", fix)) from None
    except (TypeError, RuntimeError, OverflowError) as error:
        reason = f" ({error})" if str(error) else ""
        raise DomainError(complaint(name, "numbers", f"{kind}{reason}", fix)) from None


def _promoted(tensor: Tensor, name: str) -> Tensor:
    dtype = torch.get_default_dtype()
    exact = round(2 / torch.finfo(dtype).eps)
    if not unseen(tensor) and tensor.dtype is not torch.bool and tensor.numel():
        signed = tensor.to(torch.int64) if tensor.dtype in _UNSIGNED else tensor
        least, most = int(signed.min()), int(signed.max())
        # A negative one among unsigned integers is one beyond the last of int64.
        worst = least + 2**64 if least < 0 and tensor.dtype in _UNSIGNED else max(most, -least)
        if worst > exact:
            wider = f"Pass {name}.double(), or subtract" if dtype is not torch.float64 else "Subtract"
            raise DomainError(
                complaint(
                    name,
                    f"integers up to {exact}, the last that {dtype} holds exactly",
                    f"an integer of size {worst}",
                    f"{wider} a reference value first.",
                )
            )
    return tensor.to(dtype)


def compiling() -> bool:
    """Whether values cannot be looked at now."""
    return bool(torch.compiler.is_compiling())


def transformed() -> bool:
    """Whether torch traces now, transforms (`torch.func`), or carries forward derivatives."""
    return (
        compiling()
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
        or torch._C._get_tracing_state() is not None
    )


def differentiated_otherwise() -> bool:
    """Whether `torch.func` transforms, or forward derivatives are carried: a graph of the house's own is not seen then."""
    return not compiling() and (
        torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0
    )


def refuse_transforms(asked: str, instead: str = "") -> None:
    """Raise inside of `torch.func`, where an iteration that its numbers tell to stop cannot run."""
    if compiling() or not torch._C._are_functorch_transforms_active():
        return
    transform = torch._C._functorch.peek_interpreter_stack().key().name.lower()
    error = DomainError if transform == "vmap" else DerivativeUnavailable
    expected = "a call outside of torch.func, as its iterations look at their numbers"
    fix = "Pass a batch (..., n, d) in place of vmap, and use torch.autograd.grad for derivatives"
    fix += f"; torch.func takes {instead}." if instead else "."
    raise error(complaint(asked, expected, f"one inside of {transform}", fix))


def unseen(tensor: Tensor) -> bool:
    """Whether the values of this tensor cannot be looked at: it is traced, mapped over, or without values of its own."""
    return compiling() or tensor.is_meta or (torch._C._are_functorch_transforms_active() and _mapped(tensor))


def _mapped(tensor: Tensor) -> bool:
    """Whether `torch.func.vmap` holds the batch of this tensor, at whatever depth of transforms."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


def is_finite(tensor: Tensor) -> bool:
    """Whether every number is finite. A finite sum says so in one pass; one that overflows calls for the second look."""
    total = (tensor.detach() if tensor.requires_grad else tensor).sum().item()
    return math.isfinite(total) or bool(torch.isfinite(tensor).all())


def _first(bad: Tensor, tensor: Tensor, name: str, digits: str = "") -> str:
    """ "VALUE at NAME[i][j]" for the first entry that is bad."""
    index = tuple(torch.nonzero(bad)[0].tolist())
    return f"{tensor[index].item():{digits}} at {name}{''.join(f'[{i}]' for i in index)}"


def check_points(value: Any, name: str, *, finite: bool = True) -> Tensor:
    """Points of shape (..., n, d) with n >= 1 and d >= 1; a 1-D input is n points on the line."""
    points = as_tensor(value, name)
    if points.ndim == 0:
        raise ShapeError(complaint(name, "points of shape (..., n, d)", "a single number", "Pass at least one point."))
    if points.ndim == 1:
        points = points.unsqueeze(-1)
    if 0 in points.shape[:-2]:
        raise ShapeError(
            complaint(
                name,
                "at least one cloud in the batch",
                f"shape {tuple(points.shape)}",
                "Skip the empty batch before the distance.",
            )
        )
    if points.shape[-2] == 0 or points.shape[-1] == 0:
        what = "points" if points.shape[-2] == 0 else "features"
        raise ShapeError(
            complaint(
                name,
                "points of shape (..., n, d) with n, d >= 1",
                f"shape {tuple(points.shape)} without {what}",
                f"Check the filter that made {name}: an empty cloud has no distribution.",
            )
        )
    if finite:
        check_finite(points, name)
    return points


def check_finite(tensor: Tensor, name: str, fix: str = "Remove or fill such rows first.") -> None:
    """Raise on NaN or infinity, with the index of the first."""
    if unseen(tensor) or is_finite(tensor):
        return
    raise DomainError(complaint(name, "finite numbers", _first(~torch.isfinite(tensor), tensor, name), fix))


def check_distances(x: Tensor, y: Tensor, power: float) -> None:
    """Raise unless the coordinates are finite and their distances to this power are, in the dtype that computes them."""
    if unseen(x) or unseen(y):
        return
    most = _safe_norm(x.dtype, power)
    # One pass tells both: a norm below the bound has finite coordinates, and no distance is above twice the norms.
    if not (_norm(x) <= most and _norm(y) <= most):
        check_finite(x, "x")
        check_finite(y, "y")
        if power:
            check_extent(x, y, power, least=0.0)


def check_vanishing(x: Tensor, y: Tensor, power: float) -> None:
    """Raise where different points are so near that this power of their distances has lost its digits to underflow."""
    if power and is_minute(x) and is_minute(y):
        check_extent(x, y, power)


def is_minute(tensor: Tensor) -> bool:
    """Whether numbers are so small that their differences, if not zero, may have squares without all their digits."""
    return not unseen(tensor) and _norm(tensor) < _safe_distance(tensor.dtype) / torch.finfo(_held_in(tensor.dtype)).eps


def is_huge(tensor: Tensor) -> bool:
    """Whether numbers are so large that the squares of their differences may overflow."""
    return not unseen(tensor) and not _norm(tensor) <= _safe_norm(tensor.dtype, 2.0)


def _norm(tensor: Tensor) -> float:
    seen = tensor.detach() if tensor.requires_grad else tensor
    return float(torch.linalg.vector_norm(seen.float() if seen.dtype.itemsize < 4 else seen).item())


@functools.cache
def _safe_norm(dtype: torch.dtype, power: float) -> float:
    return _most(dtype) ** (1 / power) / 4 if power else 0.0


def _held_in(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _most(dtype: torch.dtype) -> float:
    return torch.finfo(_held_in(dtype)).max


def _safe_distance(dtype: torch.dtype) -> float:
    """From here on the square of a distance has all its digits."""
    return float(torch.finfo(_held_in(dtype)).tiny ** 0.5 * 2**12)


def check_extent(x: Tensor, y: Tensor, power: float = 2.0, *, least: float | None = None) -> None:
    """Raise where this power of the distances between finite points overflows, or loses digits to underflow."""
    if unseen(x) or unseen(y):
        return
    top, bottom = (
        torch.maximum(x.detach().amax(-2), y.detach().amax(-2)),
        torch.minimum(x.amin(-2), y.amin(-2)).detach(),
    )
    # Halves, as the difference of the two largest numbers would overflow.
    sizes = (0.5 * top - 0.5 * bottom).amax(-1)
    low, high = (2 * size.item() for size in torch.aminmax(torch.where(sizes > 0, sizes, sizes.amax())))
    most = _most(x.dtype) ** (1 / power) / x.shape[-1] ** 0.5
    least = _safe_distance(x.dtype) ** (2 / power) if least is None else least
    if 0 < low < least or high > most:
        dtype = _held_in(x.dtype)
        what = {1.0: "distances", 2.0: "squared distances"}.get(power, f"distances to the power {power:g}")
        fix = "Rescale the points." if dtype is torch.float64 else "Rescale the points, or pass float64."
        size, way = (high, "an overflow") if high > most else (low, "an underflow")
        raise DomainError(complaint("x", f"points whose {what} {dtype} holds", f"{way} at a size of {size:.2g}", fix))


def check_held(value: Tensor, unit: str = "distances") -> Tensor:
    """A distance of finite points; raise where it, or a sum on the way to it, is beyond its dtype."""
    if not unseen(value) and not is_finite(value):
        held = f"points whose {unit} {value.dtype} holds"
        raise DomainError(complaint("x", held, "an overflow", "Rescale the points, or pass them in a wider dtype."))
    return value


def check_potential(value: Any, name: str, x: Tensor, y: Tensor) -> Tensor:
    """A potential (..., m) on the points of y: finite, or -inf where a point is taken out, but not in a whole row."""
    h = as_tensor(value, name)
    m = y.shape[-2]
    if h.ndim == 0 or h.shape[-1] != m:
        raise ShapeError(
            complaint(
                name, f"shape (..., {m}), one for each point of y", f"{tuple(h.shape)}", f"Pass {name} of that shape."
            )
        )
    check_same_kind(x, h, "x", name)
    if unseen(h) or is_finite(h):
        return h
    bad = torch.isnan(h) | (h == torch.inf)
    if bool(bad.any()):
        fix = "Only -inf is allowed: it takes a point out."
        raise DomainError(complaint(name, "finite numbers or -inf", _first(bad, h, name), fix))
    if bool((h == -torch.inf).all(-1).any()):
        raise DomainError(
            complaint(name, "a finite number for one point of y at least", "-inf for all", "Leave some point in.")
        )
    return h


def check_same_space(x: Tensor, y: Tensor, x_name: str = "x", y_name: str = "y") -> torch.Size:
    """The broadcast of the batch axes of points of the same feature count, dtype and device."""
    if x.shape[-1] != y.shape[-1]:
        raise ShapeError(
            complaint(
                y_name,
                f"shape (..., m, {x.shape[-1]}) to match {x_name} of shape {tuple(x.shape)}",
                f"{tuple(y.shape)}",
                "Pass points with the same last dimension.",
            )
        )
    check_same_kind(x, y, x_name, y_name)
    return check_batch(x.shape[:-2], y.shape[:-2], x_name, y_name)


def check_same_kind(x: Tensor, y: Tensor, x_name: str, y_name: str) -> None:
    """Same device and dtype."""
    if x.device != y.device:
        raise DomainError(
            complaint(
                y_name,
                f"a tensor on {x.device}, where {x_name} is",
                f"one on {y.device}",
                f"Pass {y_name}.to({str(x.device)!r}).",
            )
        )
    if x.dtype != y.dtype:
        raise DomainError(
            complaint(y_name, f"dtype {x.dtype}, that of {x_name}", f"{y.dtype}", f"Pass {y_name}.to({x.dtype}).")
        )


def check_batch(left: torch.Size, right: torch.Size, x_name: str, y_name: str) -> torch.Size:
    """The broadcast of two batch shapes."""
    if left == right:
        return left
    try:
        shape: torch.Size = torch.broadcast_shapes(left, right)
        return shape
    except RuntimeError:
        raise ShapeError(
            complaint(
                y_name,
                f"batch axes that broadcast with {tuple(left)} of {x_name}",
                f"{tuple(right)}",
                "Use equal batch sizes, or 1.",
            )
        ) from None


def check_weights(value: Any, name: str, points: Tensor, points_name: str, *, normalised: bool = True) -> Tensor:
    """Weights (..., n), non-negative, finite, of positive total, that sum to one when `normalised`."""
    weights = as_tensor(value, name).to(points.device)
    n = points.shape[-2]
    if weights.ndim == 0 or weights.shape[-1] != n:
        raise ShapeError(
            complaint(
                name,
                f"shape (..., {n}), one weight for each point of {points_name}",
                f"{tuple(weights.shape)}",
                "Pass one weight per point, or leave it out for uniform weights.",
            )
        )
    if weights.dtype != points.dtype:
        weights = weights.to(points.dtype)
    check_batch(points.shape[:-2], weights.shape[:-1], points_name, name)
    check_distribution(weights, name, normalised=normalised)
    return weights


def check_distribution(weights: Tensor, name: str, *, normalised: bool = True) -> None:
    """Non-negative, finite, of positive total; the total is one when `normalised`."""
    check_finite(weights, name, "Give a point without mass the weight 0.")
    if unseen(weights):
        return
    if bool((weights < 0).any()):
        negative = _first(weights < 0, weights, name, ".6g")
        raise DomainError(complaint(name, "weights >= 0", negative, "Clip or drop negative mass."))
    total = weights.detach().sum(-1)
    if bool((total <= 0).any()):
        raise DomainError(
            complaint(name, "a positive total mass", "weights that are all zero", "Give some point mass.")
        )
    if normalised and bool(((total - 1).abs() > _WEIGHT_SUM_TOLERANCE).any()):
        worst = total.flatten()[(total - 1).abs().argmax()].item()
        raise DomainError(
            complaint(
                name,
                "weights that sum to 1",
                f"a sum of {worst:.6g}",
                f"Divide by {name}.sum(-1, keepdim=True); unequal masses need reach=... in howfar.transport.",
            )
        )


def check_positive(value: Any, name: str, *, unit: str = "") -> float:
    """A finite float greater than zero."""
    number = check_number(value, name)
    if not number > 0:
        raise DomainError(
            complaint(name, f"a number > 0{unit and f' ({unit})'}", f"{number:g}", f"Pass a larger {name}.")
        )
    return number


def check_number(value: Any, name: str, *, least: float = -math.inf) -> float:
    """A finite float, at least `least`."""
    try:
        if isinstance(value, str | bytes | bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise DomainError(complaint(name, "a number", repr(value), f"Pass {name} as a float.")) from None
    if not -math.inf < number < math.inf:
        raise DomainError(complaint(name, "a finite number", repr(number), f"Pass {name} as a finite float."))
    if number < least:
        raise DomainError(complaint(name, f"a number >= {least:g}", f"{number:g}", f"Pass a larger {name}."))
    return number


def check_count(value: Any, name: str, *, least: int = 1) -> int:
    """An integer, at least `least`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise DomainError(complaint(name, "an integer", repr(value), f"Pass {name} as an int."))
    number = int(value.__index__())
    if number < least:
        raise DomainError(complaint(name, f"an integer >= {least}", str(number), f"Pass a larger {name}."))
    return number


def check_generator(value: Any, name: str = "generator") -> torch.Generator | None:
    """A random generator, or None for torch's own."""
    if value is None or isinstance(value, torch.Generator):
        return value
    fix = f"Pass torch.Generator().manual_seed({value if isinstance(value, int) else 0})."
    raise DomainError(complaint(name, "a torch.Generator", repr(value), fix))


def check_choice(value: Any, name: str, known: Iterable[str]) -> str:
    """One of the known names."""
    names = tuple(known)
    if value in names:
        return str(value)
    raise unknown_name(name, value, names)
