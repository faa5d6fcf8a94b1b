"""What a call of an op would do, where, in which form and precision, and why not otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch

from howfar import _checks, _native
from howfar._errors import unknown_name
from howfar.ops import compiled
from howfar.ops.kernel_summation import kernel_sum
from howfar.ops.nearest_neighbors import nearest
from howfar.ops.precision import working
from howfar.ops.rehearsal import Rehearsal, rehearsed
from howfar.ops.soft_minimum import softmin, softmin_apply
from howfar.ops.streaming import block_rows

_OPS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"softmin": softmin, "softmin_apply": softmin_apply, "kernel_sum": kernel_sum, "nearest": nearest}
)
_FORMS = {number: name for name, number in compiled.FORMS.items()}
_SAID = {
    "product": "squared distances as |x|^2 + |y|^2 - 2 <x, y>",
    "difference": "squared distances as sums of squared differences",
    "cityblock": "sums of absolute differences",
    "minkowski": "sums of powers of differences",
    "inner": "inner products",
    "formula": "the formula in plain torch",
}
_OPERATIONS = {"product": 1, "inner": 1, "difference": 2, "cityblock": 2, "minkowski": 20}
"""Instructions for each feature of a pair."""
_SHARE = 0.6
"""Of the measured ceiling, what the kernels reach on common sizes."""
_ROWS = 96
"""Of a block: the rows that a thread holds beside a chunk of columns."""
_CALL_S = 5e-5
"""Before a kernel starts."""


@dataclass(frozen=True)
class Pass:
    """One reduction over all pairs, of which an op may need several.

    Attributes:
        kernel: what runs.
        form: how a pair is evaluated: "product", "difference", "cityblock", "minkowski", "inner", or "formula".
        dtype: the precision that pairs are evaluated in.
        tile: rows and columns that are held at once.
        batch: problems.
        n: rows of each.
        m: columns of each.
        d: features.
        columns: of weights or values.
        why: the reason for form and precision.
    """

    kernel: str
    form: str
    dtype: torch.dtype
    tile: tuple[int, int]
    batch: int
    n: int
    m: int
    d: int
    columns: int
    why: str = ""

    def __str__(self) -> str:
        """One line."""
        problems = f"{self.batch} problems of " if self.batch != 1 else ""
        dtype = str(self.dtype).removeprefix("torch.")
        columns = f", {self.columns} columns" if self.columns > 1 else ""
        tile = f"{self.tile[0]} x {self.tile[1]}"
        return (
            f"{problems}{self.n} x {self.m} pairs, {self.d} features{columns}: {_SAID[self.form]}, in {dtype}, "
            f"{tile} at once" + (f"; {self.why}" if self.why else "")
        )


@dataclass(frozen=True)
class Explanation:
    """What a call would do; printed, it is a text for a reader.

    Attributes:
        op: its name.
        backend: which would run.
        device: where.
        instruction_set: of the compiled kernels; "as torch" where they do not run.
        threads: how many a call may use.
        passes: the reductions, each with its form, precision and tile.
        memory: about the bytes held beside inputs and result.
        seconds: about how long the values take; by the ceiling measured now, or by a block of plain torch.
        why_not: backend -> why it would not run, for each of the others.
    """

    op: str
    backend: str
    device: torch.device
    instruction_set: str
    threads: int
    passes: tuple[Pass, ...]
    memory: int
    seconds: float
    why_not: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Some lines."""
        threads = f"{self.threads} thread{'s' if self.threads != 1 else ''}"
        where = f"{self.instruction_set}, {threads}" if self.device.type == "cpu" else str(self.device)
        first = f"{self.op} on {self.backend} ({where}): about {_duration(self.seconds)}"
        return "\n".join(
            (
                f"{first}, {_size(self.memory)} beside inputs and result",
                *(f"  {one}" for one in self.passes),
                *(f"  not {name}: {reason}" for name, reason in self.why_not.items()),
            )
        )


def explain(op: str | Callable[..., Any], /, *args: Any, **options: Any) -> Explanation:
    """What `op(*args, **options)` would do, without doing it: backend, form, precision, memory, time, and why.

    The op is rehearsed: it checks its arguments, chooses its backend, and arranges its points as in earnest, and only
    the reduction is left out. What is said is of the values; derivatives take passes of their own.

    Args:
        op: an op of `howfar.ops`, or its name.
        args: what it would be called with.
        options: what it would be called with, by name.

    Raises:
        UnknownName: no such op.
        HowfarError: whatever the op raises for these arguments.

    Example:
        >>> import torch, howfar
        >>> x, y = torch.rand(500, 3), torch.rand(400, 3)
        >>> plan = howfar.ops.explain("softmin", x, y, torch.zeros(400), eps=0.1, backend="reference")
        >>> plan.backend, plan.passes[0].n, plan.passes[0].m
        ('reference', 500, 400)
        >>> "pairs" in str(plan)
        True
    """
    name, function = _resolved(op)
    with torch.no_grad(), rehearsed() as seen:
        function(*args, **options)
    x, y = (_checks.check_points(points, "points") for points in _points(args, options))
    batch = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    if seen.backend == "cpu":
        passes = tuple(_passes(seen))
        instruction_set, threads = _native.instruction_set() or "portable", _native.threads()
        memory = max(_memory(one) + _copies(one, x.dtype) for one in passes)
        seconds = sum(map(_seconds, passes))
    else:
        dtype = working(x)[0][0].dtype
        rows = block_rows((x.expand(*batch, *x.shape[-2:]), y))
        size = (x.shape[-2], y.shape[-2], x.shape[-1])
        count = batch.numel()
        passes = (Pass(name, "formula", dtype, (rows, y.shape[-2]), count, *size, 1),)
        instruction_set, threads = "as torch", torch.get_num_threads()
        memory = 4 * rows * count * y.shape[-2] * dtype.itemsize
        seconds = count * size[0] * size[1] * _torch_seconds(x.device, dtype, size[2])
    asked = options.get("backend", "auto")
    why_not = {b: reason or _able(b, asked) for b, reason in seen.reasons.items() if b != seen.backend}
    return Explanation(
        name, seen.backend, x.device, instruction_set, threads, passes, memory, seconds, MappingProxyType(why_not)
    )


def _resolved(op: str | Callable[..., Any]) -> tuple[str, Callable[..., Any]]:
    for name, function in _OPS.items():
        if op in (name, function):
            return name, function
    raise unknown_name("op", op if isinstance(op, str) else getattr(op, "__name__", op), _OPS)


def _points(args: tuple[Any, ...], options: Mapping[str, Any]) -> tuple[Any, Any]:
    given = dict(zip(("x", "y"), args, strict=False)) | dict(options)
    return given["x"], given["y"]


def _able(backend: str, asked: str) -> str:
    return f"it can run here; backend={backend!r} asks for it" + (
        "" if asked == "auto" else f", and {asked!r} was asked"
    )


def _passes(seen: Rehearsal) -> Iterable[Pass]:
    """The starts of kernels, those that are pieces of one reduction taken together."""
    pieces: dict[tuple[Any, ...], int] = {}
    for kernel, single, p in seen.calls:
        key = (kernel, p.form, single, p.n, p.m, p.d, p.q, p.exponent)
        pieces[key] = pieces.get(key, 0) + (p.batch if p.row_begin == 0 else 0)
    for (kernel, number, single, n, m, d, q, exponent), batch in pieces.items():
        form, dtype = _FORMS[number], torch.float32 if single else torch.float64
        reasons = [(a[-1].exponent != exponent, _why(*a)) for a in seen.arranged if a[-1].form == form]
        if kernel == "nearest":
            why = f"candidates are screened in {_short(dtype)} and evaluated in float64"
        else:
            why = min(reasons)[1] if reasons else ""
        yield Pass(kernel, form, dtype, _native.tile(single), batch, n, m, d, q, why)


def _why(base: compiled.Base, given: torch.dtype, sharpness: float | None, clouds: compiled.Clouds) -> str:
    """Why points of this dtype were arranged like that."""
    wider = "" if clouds.x.dtype == given else f" beyond {_short(given)}"
    if base.kind == "inner":
        return "inner products are summed in float64"
    if base.directions:
        return "directions are taken in float64"
    if base.kind == "minkowski":
        return f"powers of order {base.p:g}{wider}"
    if base.kind == "cityblock":
        return "differences cancel nothing"
    if sharpness is None or base.exponent != 1:
        return f"a power of a distance has no temperature that a rounding could hide behind{wider}"
    change = compiled.noise(compiled.squared_radius(clouds.x, clouds.y), sharpness, given)
    if change > compiled.NOISE[given]:
        return f"a product in {_short(given)} could change scores in base 2 by 2^{_exponent(change)}"
    if clouds.form == "product":
        return f"its rounding changes scores in base 2 by at most 2^{_exponent(change)}"
    if clouds.gentle:
        return "so few features that the exponential hides what differences cost"
    return "so few pairs that a look at the data would cost more than it saves"


def _exponent(change: float) -> str:
    return f"{torch.tensor(change, dtype=torch.float64).log2().ceil().item():.0f}" if change > 0 else "-inf"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _memory(one: Pass) -> int:
    """The packed columns, and the rows of every thread."""
    columns = one.batch * -(-one.m // one.tile[1]) * one.tile[1] * (one.d + 2 + one.columns)
    rows = _native.threads() * _ROWS * (one.d + 2 + one.tile[1] * one.columns)
    return one.dtype.itemsize * (columns + rows)


def _copies(one: Pass, given: torch.dtype) -> int:
    """Of points in a wider precision."""
    return 0 if one.dtype == given else one.batch * (one.n + one.m) * one.d * one.dtype.itemsize


def _seconds(one: Pass) -> float:
    operations = _OPERATIONS[one.form] * one.d + one.columns
    single, exponential = one.dtype == torch.float32, one.kernel != "nearest"
    # The quickest of some moments: other programs take the processor away for longer than one of them lasts.
    rate = max(_native.ceiling(operations, single=single, exponential=exponential, seconds=2e-3) for _ in range(3))
    return _CALL_S + one.batch * one.n * one.m / (_SHARE * rate)


def _torch_seconds(device: torch.device, dtype: torch.dtype, d: int) -> float:
    """Of a pair, by a block of distances and exponentials."""
    x, y = (torch.zeros(n, d, device=device, dtype=dtype) for n in (256, 1024))
    taken = []
    for _ in range(4):
        start = time.perf_counter()
        torch.cdist(x, y).exp_().sum().item()
        taken.append(time.perf_counter() - start)
    return min(taken) / (len(x) * len(y))


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.{0 if seconds >= 10 * size else 1}f} {unit}"
    return f"{seconds * 1e6:.0f} us"


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 2**10:.3g} KiB"
