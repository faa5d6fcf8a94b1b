"""Tensors into calls of the compiled kernels: which base quantity, in which form and precision, and in what pieces.

Every cost and kernel of the core is a function of one base quantity u of a pair: the squared distance, the sum of
absolute differences or of their powers, or the inner product.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from howfar import _native, costs
from howfar.ops import library, rehearsal
from howfar.ops.precision import cast

FORMS = {"product": 0, "difference": 1, "cityblock": 2, "minkowski": 3, "inner": 4}
PROFILES = {"exp": 0, "rational": 1, "power": 2, "polynomial": 3, "exp_slope": 4}

NOISE = {torch.float32: 2.0**-16, torch.float64: 2.0**-30}
"""What rounding may change a score in base 2 by, before |x|^2 + |y|^2 - 2 <x, y> gives way to differences."""
_MOST_DIFFERENCES = {torch.float32: 64, torch.float64: 16}
"""Up to so many features differences cost no more than a product of the wider precision, or of BLAS."""
_DIFFERENCES_AS_FAST = 4
"""Up to so many features the exponential hides what differences cost more."""
_FEW_PAIRS = 2**14
"""Below, a look at the data costs more than the better form saves."""
_STEEPEST = {torch.float32: 5.0, torch.float64: 18.0}
"""Up to this order the smallest of powers that matters is no denormal."""
_EXACT_EXPONENTS = (0.5, 1.0, 1.5, 2.0)
_SECONDS = 0.2
"""About the longest call: the time after which Ctrl-C is answered."""
ALONE = 2e-5
"""Shorter work is done by one thread: to wake others takes as long, and beside other programs far longer."""
_OPERATIONS = {"minkowski": 20.0, "difference": 2.0, "cityblock": 2.0}
"""Of a feature, where they are not one."""
_SPEED = {"avx512": 2e10, "avx2": 1e10, "neon": 4e9, "portable": 3e9}
"""Features and exponentials of float32 that a slow processor of the kind does in a second of one thread."""


@dataclass(frozen=True)
class Base:
    """cost = factor u^exponent.

    Attributes:
        kind: "squared", "cityblock", "minkowski" or "inner".
        exponent: of u.
        p: the order of Minkowski, the offset of a polynomial.
        factor: on the whole.
        directions: whether the points are first divided by their norm.
    """

    kind: str
    exponent: float = 1.0
    p: float = 2.0
    factor: float = 1.0
    directions: bool = False

    @property
    def degree(self) -> float:
        """The degree of homogeneity of the cost in the points."""
        return self.exponent * {"squared": 2.0, "minkowski": self.p}.get(self.kind, 1.0)

    @property
    def radial(self) -> bool:
        """Whether the cost depends on |x - y| alone, so that its derivative is a sum of the same kind."""
        return self.kind == "squared" and not self.directions


_BASES: dict[type[costs.Cost], Base] = {
    costs.SqEuclidean: Base("squared"),
    costs.Euclidean: Base("squared", 0.5),
    costs.CityBlock: Base("cityblock"),
    costs.Cosine: Base("squared", factor=0.5, directions=True),
}


def base_of(cost: costs.Cost) -> Base | str:
    """The cost in terms of the core, or why it is none."""
    base = _BASES.get(type(cost))
    if base is not None:
        return base
    if type(cost) is costs.Minkowski:
        if cost.p in (1.0, 2.0):
            return _BASES[costs.CityBlock if cost.p == 1 else costs.Euclidean]
        if cost.p > _STEEPEST[torch.float64]:
            return f"minkowski of order {cost.p:g} overflows without a scale for each pair"
        return Base("minkowski", 1 / cost.p, cost.p)
    if type(cost) is costs.Power:
        inner = base_of(cost.base)
        if isinstance(inner, str):
            return inner
        return replace(inner, exponent=inner.exponent * cost.exponent, factor=inner.factor**cost.exponent)
    return f"the cost {cost.name!r} is not one of the compiled ones"


Offsets = tuple[Tensor, Tensor]
"""Where the problems of a ragged batch start and end: B + 1 integers for x, and for y."""


@dataclass(frozen=True)
class Clouds:
    """Points as the kernels take them, and how to read them.

    Attributes:
        x: (..., n, d), in the working precision.
        y: (..., m, d).
        form: one of FORMS.
        exponent: of u.
        p: as in Base.
        factor: of u^exponent, with the scale of the points in it.
        unit: what the points were divided by.
        gentle: whether scores are small against the precision: averages of points then keep their digits too.
        offsets: of a ragged batch, for x and for y: points are then concatenations (N, d) and (M, d).
    """

    x: Tensor
    y: Tensor
    form: str
    exponent: float
    p: float
    factor: float
    unit: float
    gentle: bool
    offsets: Offsets | None = None

    def swapped(self) -> Clouds:
        """The same, roles exchanged."""
        return replace(self, x=self.y, y=self.x, offsets=None if self.offsets is None else self.offsets[::-1])

    def per_row(self, each: Tensor) -> Tensor:
        """What belongs to a problem (...), as broadcasts over its rows."""
        if self.offsets is None:
            return each.unsqueeze(-1)
        return each.repeat_interleave(self.offsets[0].diff())


def arrange(
    base: Base,
    x: Tensor,
    y: Tensor,
    sharpness: float | None,
    *,
    wide: bool = False,
    offsets: Offsets | None = None,
    radius: Callable[[], float] | None = None,
) -> Clouds:
    """Form and precision for these points; the README of soft_minimum derives the rule.

    Args:
        base: what is computed.
        x: (..., n, d).
        y: (..., m, d).
        sharpness: the largest factor before the cost in an exponent (1 / eps); None where the cost itself is summed.
        wide: whether to compute in float64 in any case.
        offsets: as in `Clouds`.
        radius: what `squared_radius` finds, where someone remembers it.
    """
    given = x.dtype
    if base.directions:
        x, y = _directions(x.double(), y.double())
    factor, unit = base.factor, 1.0
    if base.kind == "minkowski" and base.p > _STEEPEST[torch.float32]:
        wide = True
    if base.kind == "minkowski" or (base.kind != "inner" and base.exponent not in _EXACT_EXPONENTS):
        # Centred first: the quotient of a number with an offset would round the offset.
        unit, centre = _extent(x, y), y.mean(-2, keepdim=True)
        x, y, factor = (x - centre) / unit, (y - centre) / unit, factor * unit**base.degree
    if base.kind != "squared":
        form = base.kind
        gentle = False
    else:
        remembered = None if base.directions or unit != 1 else radius
        form, gentle, wider = _form(base, x, y, None if sharpness is None else sharpness * factor, wide, remembered)
        wide = wide or wider
    if wide:
        x, y = x.double(), y.double()
    clouds = Clouds(x, y, form, base.exponent, base.p, factor, unit, gentle, offsets)
    if (going_on := rehearsal.current()) is not None:
        going_on.arranged.append((base, given, None if sharpness is None else sharpness * factor, clouds))
    return clouds


def _form(
    base: Base, x: Tensor, y: Tensor, sharpness: float | None, wide: bool, remembered: Callable[[], float] | None = None
) -> tuple[str, bool, bool]:
    """Product or difference, whether scores are gentle, and whether to go to float64."""
    dtype = torch.float64 if wide else x.dtype
    few = x.shape[:-1].numel() * y.shape[-2] <= _FEW_PAIRS
    d = x.shape[-1]
    if sharpness is None or base.exponent != 1 or (few and sharpness < 1e12):
        if d <= _MOST_DIFFERENCES[dtype]:
            return "difference", False, False
        return ("difference" if few else "product"), False, True
    radius = squared_radius(x, y) if remembered is None else remembered()
    if not noise(radius, sharpness, dtype) <= NOISE[dtype]:
        if radius * sharpness > 1e30:
            return "difference", False, True
        if dtype == torch.float64 or d <= _MOST_DIFFERENCES[dtype]:
            return "difference", False, False
        return _form(base, x, y, sharpness, True, remembered)[0], False, True
    most = _MOST_DIFFERENCES[dtype] if dtype == torch.float64 else _DIFFERENCES_AS_FAST
    return ("difference" if d <= most else "product"), True, False


def noise(radius: float, sharpness: float, dtype: torch.dtype) -> float:
    """What the rounding of a product changes a score in base 2 by: 2 R^2 u log2(e) / eps."""
    return 2 * radius * (torch.finfo(dtype).eps / 2) * math.log2(math.e) * sharpness


def squared_radius(x: Tensor, y: Tensor) -> float:
    """The largest |x|^2 or |y|^2 about the mean of y."""
    centre = y.mean(-2, keepdim=True)
    return max(float((points - centre).square().sum(-1).amax()) for points in (x, y))


def _extent(x: Tensor, y: Tensor) -> float:
    low = min(float(x.amin()), float(y.amin()))
    high = max(float(x.amax()), float(y.amax()))
    return (high - low) or 1.0


def _directions(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors; a zero vector becomes one orthogonal to all of the other side, in a feature of its own."""
    units = []
    for points in (x, y):
        scale = points.abs().amax(-1, keepdim=True)
        points = points / torch.where(scale > 0, scale, 1)
        norm = points.square().sum(-1, keepdim=True).sqrt()
        units.append((points / torch.where(norm > 0, norm, 1), (norm == 0).to(points.dtype)))
    if not any(bool(zero.any()) for _, zero in units):
        return units[0][0], units[1][0]
    (left, left_zero), (right, right_zero) = units
    left = torch.cat([left, left_zero, torch.zeros_like(left_zero)], -1)
    return left, torch.cat([right, torch.zeros_like(right_zero), right_zero], -1)


def through_directions(x: Tensor, pulled: Tensor) -> Tensor:
    """The derivative in points, from that in their directions; a zero vector stands for its own, as in the cost itself."""
    x = x.double()
    scale = x.abs().amax(-1, keepdim=True)
    unit = torch.where(scale > 0, scale, 1)
    norm = torch.where(scale > 0, unit * torch.linalg.vector_norm(x / unit, dim=-1, keepdim=True), 1)
    direction = x / norm
    pulled = pulled[..., : x.shape[-1]]
    return (pulled - direction * (direction * pulled).sum(-1, keepdim=True)) / norm


def why_not_these(*tensors: Tensor) -> str | None:
    """Why a kernel cannot take these tensors, whatever it computes; None where it can."""
    for t in tensors:
        if not t.is_cpu:
            return f"it runs on cpu tensors and these are on {t.device}"
        if type(t) not in library.PLAIN_TYPES or t.layout != torch.strided or t.is_neg():
            return f"it takes plain tensors, and this is a {type(t).__name__}"
    return None


class Part(NamedTuple):
    """A summand of a kernel sum: a profile of u, added to one of the results.

    Attributes:
        profile: one of PROFILES.
        exponent: of u, or of the profile.
        result: which one; parts come in rising order of it.
    """

    profile: str
    exponent: float
    result: int = 0


Numbers = Tensor | Sequence[float]
"""A number, or several side by side: for each problem its own in a tensor, or the same for all of them."""


def run(
    kernel: str,
    clouds: Clouds,
    *,
    scale: Numbers,  # (...); of a kernel sum (..., parts)
    factor: Numbers | None = None,  # (..., parts)
    h: Tensor | None = None,  # (..., m)
    f: Tensor | None = None,  # (..., n)
    v: Tensor | None = None,  # (..., m, q)
    k: int = 0,
    parts: Sequence[Part] = (),
    slope: bool = False,
    left: Tensor | None = None,  # (..., n, r)
    right: Tensor | None = None,  # (..., m, r)
    tilt: bool = False,
    pull: bool = False,
    rest: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """One reduction, in pieces short enough to be interrupted: its result, and averages or indices beside it."""
    x, y = clouds.x, clouds.y
    dtype, batch, (n, d), m = x.dtype, x.shape[:-2], x.shape[-2:], y.shape[-2]
    q = 0 if v is None else v.shape[-1]
    results = parts[-1].result + 1 if parts else 1
    columns: tuple[int, ...] = (results, q) if results > 1 else (q,)
    if kernel != "kernel_sum":
        columns = {"softmin": (), "nearest": (k,), "gibbs": (q + pull * d,)}[kernel]
    out = x.new_empty(*batch, n, *columns)
    beside: Tensor | None = None
    averaged = (d if pull else q) + rest
    if kernel == "softmin" and averaged:
        beside = x.new_empty(*batch, n, averaged)
    if kernel == "nearest":
        beside = torch.empty(*batch, n, k, dtype=torch.int64, device=x.device)
    each = len(parts) or 1
    problems_of = batch if clouds.offsets is None else (len(clouds.offsets[0]) - 1,)
    last = (each,) if parts else ()
    scales = _dense(scale, problems_of, last)
    factors = scales if factor is None else _dense(factor, problems_of, last)
    held = {"x": flat(x, 2), "y": flat(y, 2)}
    given = ("h", h, 1), ("f", f, 1), ("v", v, 2), ("left", left, 2), ("right", right, 2)
    for name, tensor, axes in given:
        if tensor is not None:
            tensor = cast(tensor, dtype)
            held[name] = flat(tensor.expand(*batch, *tensor.shape[-axes:]) if batch else tensor, axes)
    size = dtype.itemsize
    addresses = {name: (tensor.data_ptr(), step) for name, (tensor, step) in held.items()}
    carried = results * q + (0 if left is None else left.shape[-1]) + pull * d
    seconds = row_seconds(clouds, each, carried)
    count = batch.numel()
    alone = clouds.offsets is None and seconds * n * count < ALONE
    call = _native.Pairs(
        n=n, m=m, d=d, q=q, k=k, exponent=clouds.exponent, p=clouds.p, form=FORMS[clouds.form],
        parts=len(parts), results=results, slope=slope, threads=1 if alone else _native.threads(),
        r=0 if left is None else left.shape[-1], tilt=tilt, pull=pull, rest=rest,
    )  # fmt: skip
    if parts:
        call.part = _as_array(tuple(parts))
    if batch:
        for name, (_, step) in addresses.items():
            setattr(call, f"{name}_step", step)
    width = math.prod(columns)
    if clouds.offsets is not None:
        written = {"out": (out, width), "indices" if kernel == "nearest" else "averages": (beside, k or averaged)}
        numbers = _address(scales), _address(factors)
        _run_ragged(kernel, call, clouds.offsets, size, addresses, numbers, written, seconds / m)
        return out, beside
    pieces = [(0, count, 0, n)] if alone else _pieces(count, n, seconds / call.threads)
    for problem, problems, begin, end in pieces:
        for name, (address, step) in addresses.items():
            setattr(call, name, address + problem * step * size)
        call.out = out.data_ptr() + problem * n * width * size
        call.scale = _address(scales) + 8 * each * problem
        call.factor = _address(factors) + 8 * each * problem
        if kernel == "softmin" and beside is not None:
            call.averages = beside.data_ptr() + problem * n * averaged * size
        if kernel == "nearest" and beside is not None:
            call.indices = beside.data_ptr() + 8 * problem * n * k
        call.batch, call.row_begin, call.row_end = problems, begin, end
        rehearsal.call(kernel, dtype == torch.float32, call)
    return out, beside


@functools.lru_cache(maxsize=64)
def _as_array(parts: tuple[Part, ...]) -> Any:
    return (_native.Part * len(parts))(*(_native.Part(p.exponent, PROFILES[p.profile], p.result) for p in parts))


def _dense(numbers: Numbers, problems: Sequence[int], each: tuple[int, ...]) -> Tensor | ctypes.Array[ctypes.c_double]:
    """Numbers of float64, one after another for all problems."""
    if not problems and not isinstance(numbers, Tensor):
        return (ctypes.c_double * len(numbers))(*numbers)
    tensor = numbers if isinstance(numbers, Tensor) else torch.tensor(numbers, dtype=torch.float64)
    return tensor.to(torch.float64).expand((*problems, *each)).contiguous()


def _address(numbers: Tensor | ctypes.Array[ctypes.c_double]) -> int:
    return numbers.data_ptr() if isinstance(numbers, Tensor) else ctypes.addressof(numbers)


def _run_ragged(
    kernel: str,
    call: _native.Pairs,
    offsets: Offsets,
    itemsize: int,
    addresses: dict[str, tuple[int, int]],
    numbers: tuple[int, int],
    written: dict[str, tuple[Tensor | None, int]],
    seconds: float,
) -> None:
    """Problems of a ragged batch: many in one call, a long one by itself in pieces.

    `numbers` are the addresses of scales and factors; `seconds` is what one pair takes.
    """
    rows, columns = (side.tolist() for side in offsets)
    single, each = itemsize == 4, call.parts or 1
    widths = {"x": call.d, "f": 1, "left": call.r, "y": call.d, "h": 1, "v": call.q, "right": call.r}

    def point(i: int, j: int, problem: int) -> None:
        for name, (address, _) in addresses.items():
            first = i if name in ("x", "f", "left") else j
            setattr(call, name, address + first * widths[name] * itemsize)
        for name, (tensor, width) in written.items():
            setattr(call, name, None if tensor is None else tensor.data_ptr() + i * width * tensor.dtype.itemsize)
        call.scale, call.factor = (address + 8 * each * problem for address in numbers)

    def together(start: int, end: int) -> None:
        if start == end:
            return
        point(0, 0, start)
        call.batch = end - start
        starts = (side.data_ptr() + 8 * start for side in offsets)
        _native.call_ragged(kernel, single, call, *starts)

    start, spent = 0, 0.0
    for b in range(len(rows) - 1):
        n, m = rows[b + 1] - rows[b], columns[b + 1] - columns[b]
        if seconds * n * m > _SECONDS:
            together(start, b)
            point(rows[b], columns[b], b)
            call.batch, call.n, call.m = 1, n, m
            for _, _, begin, end in _pieces(1, n, seconds * m / call.threads):
                call.row_begin, call.row_end = begin, end
                rehearsal.call(kernel, single, call)
            start, spent = b + 1, 0.0
        elif spent + seconds * n * m > _SECONDS * call.threads:
            together(start, b)
            start, spent = b, seconds * n * m
        else:
            spent += seconds * n * m
    together(start, len(rows) - 1)


def flat(tensor: Tensor, axes: int) -> tuple[Tensor, int]:
    """The tensor dense, and the elements from one problem to the next: 0 where all of them share it."""
    batch = tensor.ndim - axes
    if not batch:
        return tensor.contiguous(), 0
    if all(tensor.stride(i) == 0 or tensor.shape[i] == 1 for i in range(batch)):
        return tensor[(0,) * batch].contiguous(), 0
    return tensor.contiguous(), tensor.shape[batch:].numel()


def row_seconds(clouds: Clouds, exponentials: int, columns: int) -> float:
    """About how long one row takes on one thread of a slow processor."""
    x = clouds.x
    work = clouds.y.shape[-2] * (_OPERATIONS.get(clouds.form, 1.0) * x.shape[-1] + 12 * exponentials + columns)
    return work * (x.dtype.itemsize / 4) / speed()


def speed() -> float:
    """Features and exponentials of float32 that one thread of a slow processor of this kind does in a second."""
    return _SPEED[_native.instruction_set() or "portable"]


def in_time(work: float) -> int:
    """How many results of so many operations each make a call that is short enough to be interrupted."""
    return max(1, int(_SECONDS * speed() / work))


def _pieces(batch: int, n: int, seconds: float) -> list[tuple[int, int, int, int]]:
    """(first problem, problems, first row, last row) of each call; rows in multiples of 96, a block of the kernels."""
    rows = max(96, int(_SECONDS / seconds) // 96 * 96)
    if rows < n:
        return [(b, 1, s, min(s + rows, n)) for b in range(batch) for s in range(0, n, rows)]
    together = max(1, rows // n)
    return [(b, min(together, batch - b), 0, n) for b in range(0, batch, together)]
