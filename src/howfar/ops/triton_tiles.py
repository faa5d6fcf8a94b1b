"""What the GPU kernels of the ops share: points laid out for tiles, and the base quantity u(x_i, y_j) of a tile.

Points lie feature by feature, (batch, d, n), with n padded to whole tiles, so that no load of a point needs a mask. A
tile is (columns, rows): the rows x_i lie across the threads, so that a sum over columns stays inside a thread.

Squared distances come in two forms. Differences, feature after feature, lose nothing; products of centred points,
|x|^2 + |y|^2 - 2 <x, y>, need half the operations and round by ulp(|x|^2). Products run where d is large and the
rounding is small against the scale of the answer; that is decided on the device, for each batch element, by `coarse`.
"""

# Of an `if` over a constant Triton compiles one branch: the other has to be an `else`, and the `if` its own.
# ruff: noqa: RET505
# The arguments of a kernel are values of Triton's own.
# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from howfar import costs
from howfar.costs import _directions

LOG2E = math.log2(math.e)
MOST_FEATURES = 1024
LARGEST_TILE = 128
"""Rows of a tile; points are padded to a multiple."""
TILE_COLUMNS = 64
"""Columns of the widest tile; a part of the columns is a multiple."""
CHUNK = 32
"""Features of one matrix product; where there are products, features are padded to a multiple."""
FEWEST_FOR_PRODUCT = 17
MOST_UNROLLED = 16
MOST_UNROLLED_IN_PRODUCTS = 128
MOST_COLUMNS_ONE_BY_ONE = 4
"""Columns of values that are summed one by one, as a matrix product has at least 16."""
PROGRAMS_EACH = 4
"""Programs for each processor of the device, to hide that they wait for memory."""
FEWEST_TILES_OF_A_PART = 4
COARSE = 2.0**12
"""Products are left where scale * (max|x|^2 + max|y|^2) is beyond it: 2^-24 times that is what an exponent may lose."""

PRECISIONS = {"ieee": 24, "tf32x3": 21, "bf16x3": 16, "tf32": 11}
"""How the products of float32 points are formed -> significant bits that they keep. All but "ieee" are for those who ask."""


@dataclass(frozen=True)
class Form:
    """A ground cost as a power of a base quantity: cost = u ** exponent."""

    base: str  # "squared", "cityblock", "minkowski" (the norm itself), "inner"
    exponent: float = 1.0
    p: float = 0.0
    directions: bool = False
    """Points are replaced by unit vectors / sqrt 2, whose squared distance is the cosine cost."""


def form_of(cost: costs.Cost) -> Form | None:
    """The form of a cost, or None for one that only its own code knows."""
    kind = type(cost)
    if kind is costs.SqEuclidean:
        return Form("squared")
    if kind is costs.Euclidean:
        return Form("squared", 0.5)
    if kind is costs.CityBlock:
        return Form("cityblock")
    if kind is costs.Cosine:
        return Form("squared", directions=True)
    if isinstance(cost, costs.Minkowski) and kind is costs.Minkowski and math.isfinite(cost.p):
        named = {1.0: Form("cityblock"), 2.0: Form("squared", 0.5)}
        return named.get(cost.p, Form("minkowski", p=cost.p))
    if isinstance(cost, costs.Power) and kind is costs.Power and (base := form_of(cost.base)) is not None:
        return Form(base.base, base.exponent * cost.exponent, base.p, base.directions)
    return None


def why_not_these(*tensors: Tensor) -> str | None:
    """Why no kernel can take these tensors, points first, whatever it computes; None where one can."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return "it cannot be traced"
    if torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0:
        return "it cannot be transformed by torch.func"
    for t in tensors:
        if t.device.type != "cuda" and not interpreted():
            return f"it runs on cuda tensors and these are on {t.device}"
        if t.dtype not in (torch.float32, torch.float64):
            return f"it works in float32 or float64, not in {t.dtype}"
        if type(t) not in (Tensor, torch.nn.Parameter) or t.layout != torch.strided or t.is_neg():
            return f"it takes plain tensors, and this is a {type(t).__name__}"
    if tensors[0].shape[-1] > MOST_FEATURES:
        return f"it takes at most {MOST_FEATURES} features and these points have {tensors[0].shape[-1]}"
    return None


def interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels (TRITON_INTERPRET=1), on tensors of any device."""
    return not isinstance(difference_tile, triton.JITFunction)


@dataclass(frozen=True)
class Points:
    """One cloud for each batch element, or one for all of them."""

    data: Tensor  # (batch or 1, features, row), zero beyond d and n
    norms: Tensor  # (batch or 1, row), |x|^2
    n: int
    d: int

    @property
    def row(self) -> int:
        """From one feature to the next."""
        return self.data.shape[-1]

    @property
    def step(self) -> int:
        """From one batch element to the next; 0 where they share the cloud."""
        return self.data.stride(0) if len(self.data) > 1 else 0

    @property
    def norms_step(self) -> int:
        """The same for the norms."""
        return self.norms.stride(0) if len(self.norms) > 1 else 0


@dataclass(frozen=True)
class Pair:
    """Two clouds, and how their tiles are computed."""

    x: Points
    y: Points
    batch: int
    base: str
    product: bool
    precision: str = "ieee"

    def swapped(self) -> Pair:
        """The columns as rows."""
        return Pair(self.y, self.x, self.batch, self.base, self.product, self.precision)

    def coarse(self, scale: Tensor) -> Tensor:
        """(batch,): 1 where products are too coarse for an exponent of `scale` (batch,) times a squared distance."""
        largest = self.x.norms.amax(-1) + self.y.norms.amax(-1)
        return (scale * largest > COARSE).to(torch.int32).expand(self.batch).contiguous()

    def meta(self, product: bool, *, second: bool) -> dict[str, Any]:
        """The compile-time arguments of a tile, where a second matrix product follows, or none."""
        rows, columns, warps = tile_of(product, second=second, double=self.x.data.dtype == torch.float64)
        d = round_up(self.x.d, CHUNK) if product else self.x.d
        # Beside a second product an unrolled loop leaves too few registers.
        unrolled = not second and d <= (MOST_UNROLLED_IN_PRODUCTS if product else MOST_UNROLLED)
        return {
            "BASE": self.base,
            "PRODUCT": product,
            "PRECISION": self.precision,
            "D": d if unrolled else 0,
            "BK": CHUNK,
            "BM": rows,
            "BN": columns,
            "num_warps": warps,
        }


def pair(x: Tensor, y: Tensor, form: Form, *, product: bool, precision: str = "ieee") -> Pair:
    """The points of x (..., n, d) and y (..., m, d), of one batch shape, as tiles want them."""
    batch = x.shape[:-2].numel()
    dtype = x.dtype
    product = product and form.base in ("squared", "inner")
    product = product and dtype == torch.float32 and x.shape[-1] >= FEWEST_FOR_PRODUCT
    left, right = coordinates(flat(x, 2), flat(y, 2), form)
    if form.base == "squared" and (product or form.directions):
        centre = _centre(left, right)
        left, right = left - centre, right - centre
    left, right = left.to(dtype), right.to(dtype)
    if precision == "tf32" and product:
        left, right = _to_tf32(left), _to_tf32(right)
    return Pair(_lay_out(left), _lay_out(right), batch, form.base, product, precision)


def coordinates(x: Tensor, y: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """What distances are taken of; differentiable. Directions come in float64, so that parallel ones keep digits."""
    if not form.directions:
        return x, y
    # A vector without direction costs 1 to all others: it points along an axis of its own, one for each side.
    sides = []
    for points, axis in ((x, (1.0, 0.0)), (y, (0.0, 1.0))):
        wide = points.double()
        directions, zero = _directions(wide)
        sides.append(torch.cat([directions, zero.unsqueeze(-1) * wide.new_tensor(axis)], -1) * 0.5**0.5)
    return sides[0], sides[1]


def pull_back(x: Tensor, y: Tensor, form: Form, grad_x: Tensor | None, grad_y: Tensor | None) -> list[Tensor | None]:
    """Gradients in coordinates -> gradients in the points."""
    if not form.directions:
        return [grad_x, grad_y]
    with torch.enable_grad():
        x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
        sides = coordinates(x, y, form)
    out: list[Tensor | None] = []
    for points, side, grad in zip((x, y), sides, (grad_x, grad_y), strict=True):
        out.append(None if grad is None else torch.autograd.grad(side, points, grad.to(side.dtype))[0])
    return out


def flat(tensor: Tensor, kept: int) -> Tensor:
    """One batch axis before the last `kept`; of size 1 where all batch elements are the same memory."""
    lead = tensor.ndim - kept
    if all(size == 1 or stride == 0 for size, stride in zip(tensor.shape[:lead], tensor.stride()[:lead], strict=True)):
        return tensor[(0,) * lead].unsqueeze(0)
    return tensor.reshape(-1, *tensor.shape[lead:])


def step(tensor: Tensor) -> int:
    """The stride of the batch axis of a `flat` tensor."""
    return tensor.stride(0) if len(tensor) > 1 else 0


def padded(vector: Tensor, row: int, value: float) -> Tensor:
    """(batch, n) -> (batch, row), filled with `value` beyond n."""
    return torch.nn.functional.pad(vector, (0, row - vector.shape[-1]), value=value)


def round_up(count: int, multiple: int) -> int:
    """The smallest multiple that is not below count."""
    return -(-count // multiple) * multiple


def power_of_two(count: int, least: int = 1) -> int:
    """The smallest power of two that is neither below count nor below least."""
    return max(least, 1 << (count - 1).bit_length())


def kind_of(exponent: float) -> str:
    """The exponents that need no logarithm."""
    return {0.5: "half", 1.0: "one", 1.5: "three halves", 2.0: "two"}.get(exponent, "any")


def parameters(batch: int, terms: Sequence[tuple[float | Tensor, float, float]], like: Tensor) -> Tensor:
    """(batch, terms, 3): the scale, the exponent and the offset (or Minkowski's p) of each term."""
    numbers = [torch.as_tensor(number, dtype=like.dtype, device=like.device) for term in terms for number in term]
    return torch.stack([number.expand(batch) for number in numbers], -1).contiguous()


def passes(pair: Pair, guard: Tensor | None) -> list[tuple[bool, int, Tensor]]:
    """(product, guard, coarse) of each launch: where products are coarse, differences run in their place."""
    if not pair.product or guard is None:
        return [(pair.product, -1, pair.x.data)]
    coarse = pair.coarse(guard)
    return [(True, 0, coarse), (False, 1, coarse)]


def columns_of(q: int) -> tuple[int, int]:
    """How many columns are summed one by one, 0 where they go through products, and how many a tile holds."""
    few = q <= MOST_COLUMNS_ONE_BY_ONE
    return (q, power_of_two(max(q, 1))) if few else (0, min(64, power_of_two(q, 16)))


def tile_of(product: bool, *, second: bool, double: bool) -> tuple[int, int, int]:
    """Rows, columns and warps of a tile: what fits into registers, as the compiler reports it for compute 8.0 and 9.0.

    A thread for each row, or a square where points are multiplied; a lower one where a second product follows.
    """
    if second:
        return 64, 32, 4
    return (64, 64, 4) if product else (128, 32 if double else 64, 4)


def _centre(x: Tensor, y: Tensor) -> Tensor:
    together = len(x) == len(y)
    mean: Callable[[Tensor], Tensor] = lambda t: t.mean(-2 if together else (0, -2), keepdim=True)
    return 0.5 * (mean(x) + mean(y))


def _to_tf32(x: Tensor) -> Tensor:
    # Rounded here once, norms and products speak of the same points, and a cost stays a squared distance.
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def _lay_out(points: Tensor) -> Points:
    batch, n, d = points.shape
    data = points.new_zeros(batch, round_up(d, CHUNK) if d > MOST_UNROLLED else d, round_up(n, LARGEST_TILE))
    data[:, :d, :n] = points.mT
    return Points(data, data.square().sum(1), n, d)


def processors(device: torch.device) -> int:
    """How many tiles the device works on at once."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def split(pair: Pair, chunks: int) -> tuple[int, int]:
    """In how many parts the columns are taken, and how many columns each has, so that few rows fill the device too."""
    tiles = -(-pair.y.n // TILE_COLUMNS)
    programs = pair.batch * -(-pair.x.n // LARGEST_TILE) * chunks
    parts = max(1, min(-(-PROGRAMS_EACH * processors(pair.x.data.device) // programs), tiles // FEWEST_TILES_OF_A_PART))
    span = -(-tiles // parts) * TILE_COLUMNS
    return -(-pair.y.n // span), span


def launch(kernel: Any, grid: tuple[int, ...], args: tuple[Any, ...], meta: dict[str, Any]) -> None:
    """Run a kernel on the device of its first argument."""
    device = args[0].device
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        # Fused multiply-adds are what the kernels are written for; the default of Triton changes between versions.
        kernel[grid](*args, **meta, enable_fp_fusion=True)


@triton.jit
def any_power(u, exponent):
    """u ** exponent for u >= 0, and 0 where u is 0; relative error 2^-24 |exponent log2(u)| in float32."""
    positive = u > 0
    return tl.where(positive, tl.exp2(exponent * tl.log2(tl.where(positive, u, 1.0))), 0.0)


@triton.jit
def power(u, exponent, KIND: tl.constexpr):
    """u ** exponent for u >= 0."""
    if KIND == "one":
        return u
    elif KIND == "half":
        return tl.sqrt(u)
    elif KIND == "three halves":
        return u * tl.sqrt(u)
    elif KIND == "two":
        return u * u
    else:
        return any_power(u, exponent)


@triton.jit
def times_slope(weight, u, exponent, KIND: tl.constexpr):
    """weight * d(u ** exponent) / du, and 0 where u is 0 and the slope is not defined."""
    if KIND == "one":
        return weight
    elif KIND == "half":
        return tl.where(u > 0, weight * 0.5 / tl.sqrt(tl.where(u > 0, u, 1.0)), 0.0)
    elif KIND == "three halves":
        return weight * 1.5 * tl.sqrt(u)
    elif KIND == "two":
        return weight * 2.0 * u
    else:
        return weight * exponent * any_power(u, exponent - 1.0)


@triton.jit
def _add_feature(total, x, y, BASE: tl.constexpr):
    row = tl.load(x)[None, :]
    column = tl.load(y)[:, None]
    if BASE == "squared":
        gap = row - column
        return total + gap * gap
    elif BASE == "cityblock":
        return total + tl.abs(row - column)
    else:
        return total + row * column


@triton.jit
def _sum_over_features(x, y, d, x_row, y_row, BASE: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    total = tl.zeros([BN, BM], x.dtype.element_ty)
    if D > 0:
        for _ in tl.static_range(D):
            total = _add_feature(total, x, y, BASE)
            x += x_row
            y += y_row
    else:
        for _ in range(d):
            total = _add_feature(total, x, y, BASE)
            x += x_row
            y += y_row
    return total


@triton.jit
def _minkowski(x, y, d, x_row, y_row, p, BM: tl.constexpr, BN: tl.constexpr):
    # Scaled by the largest difference of the pair, no power overflows and none that counts underflows.
    largest = tl.zeros([BN, BM], x.dtype.element_ty)
    row = x
    column = y
    for _ in range(d):
        largest = tl.maximum(largest, tl.abs(tl.load(row)[None, :] - tl.load(column)[:, None]))
        row += x_row
        column += y_row
    inverse = tl.where(largest > 0, 1.0 / tl.where(largest > 0, largest, 1.0), 0.0)
    total = tl.zeros([BN, BM], x.dtype.element_ty)
    for _ in range(d):
        total += any_power(tl.abs(tl.load(x)[None, :] - tl.load(y)[:, None]) * inverse, p)
        x += x_row
        y += y_row
    return largest * any_power(total, 1.0 / p)


@triton.jit
def difference_tile(
    x, y, rows, columns, d, x_row, y_row, p, BASE: tl.constexpr, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr
):
    """The base quantity of a tile, feature after feature."""
    if BASE == "minkowski":
        return _minkowski(x + rows, y + columns, d, x_row, y_row, p, BM, BN)
    else:
        return _sum_over_features(x + rows, y + columns, d, x_row, y_row, BASE, D, BM, BN)


@triton.jit
def product_tile(
    x, y, rows, columns, d, x_row, y_row,
    PRECISION: tl.constexpr, D: tl.constexpr, BK: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
):  # fmt: skip
    """<x_i, y_j> of a tile, by matrix products of BK features; d is padded with zeros."""
    # A cloud of many features has more numbers than 32 bits count.
    x_row = tl.cast(x_row, tl.int64)
    y_row = tl.cast(y_row, tl.int64)
    features = tl.arange(0, BK)
    right = x + features[:, None] * x_row + rows[None, :]
    left = y + features[None, :] * y_row + columns[:, None]
    total = tl.zeros([BN, BM], tl.float32)
    if D > 0:
        for _ in tl.static_range(0, D, BK):
            total = tl.dot(tl.load(left), tl.load(right), total, input_precision=PRECISION)
            right += x_row * BK
            left += y_row * BK
    else:
        for _ in range(0, d, BK):
            total = tl.dot(tl.load(left), tl.load(right), total, input_precision=PRECISION)
            right += x_row * BK
            left += y_row * BK
    return total


@triton.jit
def add_columns(
    total, weights, values, columns, m, q, first, FEW: tl.constexpr, PRECISION: tl.constexpr, BQ: tl.constexpr
):
    """total (BQ, rows) + values[columns, first : first + BQ]' @ weights, with values (m, q)."""
    kept = tl.arange(0, BQ)
    start = values + columns.to(tl.int64) * q + first
    if FEW > 0:
        for c in tl.static_range(FEW):
            column = tl.load(start + c, mask=columns < m, other=0.0)
            part = tl.sum(weights * column[:, None], 0)
            total += tl.where(kept[:, None] == c, part[None, :], 0.0)
        return total
    else:
        mask = (columns[None, :] < m) & (first + kept[:, None] < q)
        block = tl.load(start[None, :] + kept[:, None], mask=mask, other=0.0)
        return tl.dot(block, weights, total, input_precision=PRECISION, out_dtype=total.dtype)
