"""The summands q f(p / q) of every f-divergence, written so that nothing cancels and nothing overflows on the way.

With `w` the larger of p and q and `s = log(smaller / larger) <= 0`, a summand is `w` times a function of `s`
alone: `f(e^s)` where q is the larger, `e^s f(e^-s)` where p is. Both are wanted for ratios up to one only, so
no exponential overflows unless the summand itself does. The line through u = 1 is taken off, `f(u) - f(1) -
f'(1)(u - 1)`, which changes no divergence of distributions and leaves summands that are each non-negative and
of second order where p and q are close.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from howfar._autograd import refuse_nested_forward

_SERIES_RADIUS = 0.5
_SERIES_DEGREE = {torch.float64: 16, torch.float32: 9}
"""At half a unit, the first dropped term is below a hundredth of the last digit."""


class _Analytic(torch.autograd.Function):
    """A function whose value and derivative are each computed by the formula that loses no digits.

    It keeps its argument for the backward pass, and none of the sixteen steps of a series.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, value: Callable[[Tensor], Tensor], derivative: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ARG004
        return value(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        x, _, ctx.derivative = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return grad * ctx.derivative(x), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        refuse_nested_forward("f-divergence")
        (x,) = ctx.saved_tensors
        out: Tensor = tangent * ctx.derivative(x)
        return out


def analytic(x: Tensor, value: Callable[[Tensor], Tensor], derivative: Callable[[Tensor], Tensor]) -> Tensor:
    """`value(x)`, with `derivative(x)` as its derivative; higher ones are autograd's of `derivative`.

    While `torch.compile` traces, which takes no Function with a forward derivative, it is autograd's of `value`.
    """
    if torch.compiler.is_compiling():
        return value(x)
    out: Tensor = _Analytic.apply(x, value, derivative)  # type: ignore[no-untyped-call]
    return out


def choose(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`torch.where` of finite tensors by arithmetic, which is six times faster for a mask as irregular as p > q."""
    share = mask.to(yes.dtype)
    return yes * share + no * (1.0 - share)


def power_excess(s: Tensor, order: float) -> Tensor:
    """(u^a - 1 - a (u - 1)) / (a (a - 1)) at u = e^s, to relative accuracy for every s and every a.

    At a = 1 it is u log u - u + 1, at a = 0 it is u - 1 - log u.
    """
    return analytic(s, partial(_excess_value, order=order), partial(_excess_slope, order=order))


def _excess_value(s: Tensor, *, order: float) -> Tensor:
    scale = max(1.0, abs(order))
    near = s.abs() * scale <= _SERIES_RADIUS
    reach = _SERIES_RADIUS / scale
    return choose(near, _excess_series(s.clamp(-reach, reach), order), _excess_direct(s, order))


def _excess_series(s: Tensor, order: float) -> Tensor:
    coefficients, c = [], 1.0
    for n in range(2, _SERIES_DEGREE[s.dtype] + 1):
        coefficients.append(c / math.factorial(n))
        c = 1.0 + order * c
    total = torch.full_like(s, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * s + coefficient
    return total * s * s


def _excess_direct(s: Tensor, order: float) -> Tensor:
    if abs(order) < 0.5:
        return (torch.expm1(s) - _expm1_over(s, order)) / (1.0 - order)
    return (_excess_slope(s, order=order) - torch.expm1(s)) / order


def _excess_slope(s: Tensor, *, order: float) -> Tensor:
    """(e^{a s} - e^s) / (a - 1), with the larger exponential, s <= 0, in front."""
    if order < 1.0:
        return (order * s).exp() * _expm1_over(s, 1.0 - order)
    return s.exp() * _expm1_over(s, order - 1.0)


def _expm1_over(s: Tensor, rate: float) -> Tensor:
    """(e^{rate s} - 1) / rate, and its limit s at rate 0."""
    return s if rate == 0.0 else torch.expm1(rate * s) / rate


@dataclass(frozen=True)
class Ratio:
    """Two non-negative tensors p, q side by side, ready for a half of a generator.

    Attributes:
        p_larger: where p > q.
        larger: max(p, q).
        log_larger: its logarithm; finite wherever `larger` > 0.
        s: log(smaller / larger), zero where `absent`.
        gap: larger - smaller.
        relative_gap: the gap over the larger, in [0, 1].
        absent: where the smaller is exactly zero and the larger is not.
        vanishing: zero everywhere, with the derivative of the smaller where that is too small for its logarithm.
    """

    p_larger: Tensor
    larger: Tensor
    log_larger: Tensor
    s: Tensor
    gap: Tensor
    relative_gap: Tensor
    absent: Tensor
    vanishing: Tensor

    @classmethod
    def of_probabilities(cls, p: Tensor, q: Tensor) -> Ratio:
        """From probabilities.

        Below the smallest normal number the derivative 1/x of a logarithm overflows, so there the logarithm
        is a constant and the derivative, where it is finite, goes through `vanishing`.
        """
        tiny = torch.finfo(p.dtype).tiny
        p_larger = p > q
        larger, smaller = choose(p_larger, p, q), choose(p_larger, q, p)
        live = larger >= tiny
        regular = live & (smaller >= tiny)
        absent = (smaller == 0) & (larger > 0)
        safe = torch.where(live, larger, 1.0)
        log_larger = safe.log()
        gap = torch.where(live, larger - smaller, 0.0)
        relative_gap = gap / safe
        near = torch.log1p(-relative_gap.clamp_max(0.5))
        far = (torch.where(regular, smaller, safe) / safe).clamp_max(0.5).log()
        constant = torch.where(live & ~absent, smaller, 1.0).detach().log()
        faint = torch.where(live & ~absent, constant - log_larger, 0.0)
        faded = torch.where(live & ~regular, smaller, 0.0)
        return cls(
            p_larger,
            larger=torch.where(live, larger, 0.0),
            log_larger=log_larger,
            s=torch.where(regular, choose(relative_gap <= 0.5, near, far), faint),
            gap=gap,
            relative_gap=relative_gap,
            absent=absent,
            vanishing=faded - faded.detach(),
        )

    @classmethod
    def of_logits(cls, a: Tensor, b: Tensor) -> Ratio:
        """From logits; where the two rows are close, their log-ratio comes from the difference of the logits."""
        log_p, log_q = torch.log_softmax(a, -1), torch.log_softmax(b, -1)
        both = torch.isfinite(log_p) & torch.isfinite(log_q)
        d = torch.where(both, log_p, 0.0) - torch.where(both, log_q, 0.0)
        shift = torch.where(both, a, 0.0) - torch.where(both, b, 0.0)
        top = torch.where(both, shift, -math.inf).amax(-1, keepdim=True)
        bottom = torch.where(both, shift, math.inf).amin(-1, keepdim=True)
        same_support = (torch.isfinite(log_p) == torch.isfinite(log_q)).all(-1, keepdim=True)
        close = same_support & (top - bottom <= 1.0)
        middle = torch.where(close, (top + bottom) / 2, 0.0).detach()
        delta = torch.where(close & both, shift - middle, 0.0)
        d_close = delta - torch.log1p((log_q.exp() * torch.expm1(delta)).sum(-1, keepdim=True))
        return cls.of_logs(log_p, log_q, torch.where(both, torch.where(close, d_close, d), 0.0))

    @classmethod
    def of_logs(cls, log_p: Tensor, log_q: Tensor, d: Tensor) -> Ratio:
        """From logarithms and their difference `d`, which is finite and ignored where one of them is not."""
        on_p, on_q = torch.isfinite(log_p), torch.isfinite(log_q)
        one_sided = on_p != on_q
        p_larger = torch.where(one_sided, on_p, d > 0)
        s = torch.where(one_sided, 0.0, choose(d > 0, -d, d))
        log_larger = choose(p_larger, torch.where(on_p, log_p, 0.0), torch.where(on_q, log_q, 0.0))
        larger = torch.where(on_p | on_q, log_larger.exp(), 0.0)
        relative_gap = torch.where(one_sided, 1.0, -torch.expm1(s))
        return cls(
            p_larger,
            larger=larger,
            log_larger=log_larger,
            s=s,
            gap=larger * relative_gap,
            relative_gap=relative_gap,
            absent=one_sided,
            vanishing=torch.zeros_like(s),
        )

    @classmethod
    def of_log_densities(cls, log_p: Tensor, log_q: Tensor) -> Ratio:
        """From log-densities, at least one of them finite, both divided by the density of their even mixture."""
        one_sided = torch.isfinite(log_p) != torch.isfinite(log_q)
        d = torch.where(one_sided, 0.0, log_p) - torch.where(one_sided, 0.0, log_q)
        s = torch.where(d > 0, -d, d)
        above = math.log(2.0) - torch.log1p(torch.where(one_sided, 0.0, s.exp()))
        lost = torch.full_like(s, -math.inf)
        p_larger = torch.where(one_sided, torch.isfinite(log_p), d > 0)
        below = torch.where(one_sided, lost, above + s)
        return cls.of_logs(torch.where(p_larger, above, below), torch.where(p_larger, below, above), d)

    def where(self, mask: Tensor) -> Ratio:
        """The same pair with p = q outside `mask`, so that a half contributes nothing there."""
        share = mask.to(self.s.dtype)
        return replace(
            self,
            s=self.s * share,
            gap=self.gap * share,
            relative_gap=self.relative_gap * share,
            absent=self.absent & mask,
            vanishing=self.vanishing * share,
        )

    def boundary(self, value: float, slope: float) -> Tensor:
        """What a summand is where the smaller is zero: `value` times the larger plus `slope` times the smaller.

        An infinite slope counts as zero: along the face of the simplex, where that probability stays zero,
        nothing else changes, and an infinite gradient times the zero of a softmax would be NaN.
        """
        if math.isinf(value):
            return torch.where(self.absent, math.inf, 0.0).to(self.larger.dtype)
        edge = torch.where(self.absent, self.larger, 0.0) * value
        return edge + self.vanishing * slope if math.isfinite(slope) else edge


Half = Callable[[Ratio], Tensor]
"""Summands from a `Ratio`, for the side of u = 1 on which the ratio lies."""


def power_half(order: float, scale: float = 1.0) -> Half:
    """`scale` (u^a - 1 - a (u - 1)) / (a (a - 1)), u <= 1, of order a; its other half is that of order 1 - a."""
    if order == 2.0:
        return lambda ratio: (0.5 * scale) * ratio.gap * ratio.relative_gap
    value = scale / order if order > 0 else math.inf
    slope = scale / (1.0 - order) if order > 1 else -math.inf

    def half(ratio: Ratio) -> Tensor:
        inside = ratio.larger * power_excess(ratio.s, order) if order >= 0 else _growing(ratio, order)
        return scale * inside + ratio.boundary(value, slope)

    return half


def _growing(ratio: Ratio, order: float) -> Tensor:
    """Orders below zero: u^a grows without bound, so it meets the small `larger` inside the exponential."""
    s, m = ratio.s, ratio.log_larger
    far = order * s > 1.0
    inside = ratio.larger * power_excess(torch.where(far, 0.0, s), order)
    exponent = torch.where(far, m + order * s, 0.0)
    overflow = exponent > math.log(torch.finfo(s.dtype).max) - 1.0
    rest = (1.0 - order) * ratio.larger + order * (ratio.larger * torch.where(far, s, 0.0).exp())
    outside = (torch.where(overflow, 0.0, exponent).exp() - rest) / (order * (order - 1.0))
    return torch.where(overflow, math.inf, torch.where(far, outside, inside))


def mixture_half(weight: float, scale: float = 1.0) -> Half:
    """`scale` times weight KL(p, m) + (1 - weight) KL(q, m), m = weight p + (1 - weight) q, where p <= q.

    Its other half is that of 1 - `weight`.
    """
    value = -scale * (1.0 - weight) * math.log1p(-weight)

    def half(ratio: Ratio) -> Tensor:
        log_mixture = torch.log1p(weight * torch.expm1(ratio.s))
        psi = weight * power_excess(ratio.s, 1.0) - power_excess(log_mixture, 1.0)
        return scale * (ratio.larger * psi) + ratio.boundary(value, -math.inf)

    return half


def absolute_half(ratio: Ratio) -> Tensor:
    """|p - q| / 2, whose derivative at p = q is taken as zero."""
    return 0.5 * ratio.gap * (ratio.gap > 0)


def triangular_half(ratio: Ratio) -> Tensor:
    """(p - q)^2 / (p + q)."""
    gap = ratio.relative_gap
    return ratio.gap * (gap / (2.0 - gap))


def numeric_halves(
    f: Callable[[Tensor], Tensor], at_one: float, threshold: float, at_zero: float, at_infinity: float
) -> tuple[Half, Half]:
    """Both halves of a generator of which only f and its limits are known; close to p = q digits cancel.

    f is called in float64 with ratios up to e^177, so that its square and its cube stay finite.
    """
    reach = -0.25 * math.log(torch.finfo(torch.float64).max)

    def line_off(u: Tensor) -> Tensor:
        return f(u) - at_one - threshold * (u - 1.0)

    def below(ratio: Ratio) -> Tensor:
        psi = line_off(ratio.s.double().exp()).clamp_min(0.0)
        return ratio.larger * psi.to(ratio.s.dtype) + ratio.boundary(at_zero - at_one + threshold, -math.inf)

    def above(ratio: Ratio) -> Tensor:
        s = torch.where(ratio.s > reach, ratio.s, reach).double()
        psi = (s.exp() * line_off((-s).exp())).clamp_min(0.0)
        return ratio.larger * psi.to(ratio.s.dtype) + ratio.boundary(at_infinity - threshold, -math.inf)

    return below, above
