"""Digits: close pairs, extreme logits, large offsets, low precisions."""

import math

import mpmath
import pytest
import torch

from howfar import f_divergences as fd
from howfar.f_divergences.terms import power_excess

NAMES = [name for name in fd.GENERATORS if name != "gan"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "order", [-3.0, -0.4, -1e-12, 0.0, 1e-7, 0.3, 0.5, 0.7, 1.0 - 1e-10, 1.0, 1.0 + 1e-7, 1.9, 6.0]
)
def test_power_excess_to_the_last_digits(dtype, order):
    """Against 60 digits, across the switch between the series and the direct formula."""
    s = -torch.logspace(-18, 1, 58, dtype=dtype)
    s = s[order * s < 20]
    value = power_excess(s, order)
    leaf = s.clone().requires_grad_()
    (slope,) = torch.autograd.grad(power_excess(leaf, order).sum(), leaf)
    worst = 0.0
    with mpmath.workdps(80):
        a = mpmath.mpf(order)
        for x, got, got_slope in zip(s.tolist(), value.tolist(), slope.tolist(), strict=True):
            u = mpmath.exp(mpmath.mpf(x))
            if order == 1.0:
                exact, exact_slope = u * mpmath.log(u) - u + 1, u * mpmath.log(u)
            elif order == 0.0:
                exact, exact_slope = u - 1 - mpmath.log(u), u - 1
            else:
                exact = (u**a - 1 - a * (u - 1)) / (a * (a - 1))
                exact_slope = (u**a - u) / (a - 1)
            if exact > 1e-36:
                worst = max(worst, abs(float(got / exact - 1)))
            worst = max(worst, abs(float(got_slope / exact_slope - 1)))
    assert worst < 40 * torch.finfo(dtype).eps


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gap", [1.0, 1e-2, 1e-4, 1e-6])
def test_float32_is_relatively_accurate_for_close_pairs(name, gap):
    """The value is of order gap^2, far below the rounding of one, which the naive sum could not see."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(50, generator=generator)
    b = a + gap * torch.randn(50, generator=generator)
    value = fd.f_divergence(a, b, name, from_logits=True)
    exact = fd.f_divergence(a.double(), b.double(), name, from_logits=True)
    assert value.item() == pytest.approx(exact.item(), rel=3e-6, abs=0)
    p, q = a.softmax(-1), b.softmax(-1)
    value = fd.f_divergence(p, q, name)
    exact = fd.f_divergence(p.double(), q.double(), name)
    assert value.item() == pytest.approx(exact.item(), rel=3e-6, abs=0)


@pytest.mark.parametrize("order", [0.4, 1.0 + 1e-9, 3.0])
def test_renyi_in_float32_for_close_pairs(order):
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(50, generator=generator)
    b = a + 1e-4 * torch.randn(50, generator=generator)
    exact = fd.renyi(a.double(), b.double(), order, from_logits=True)
    assert fd.renyi(a, b, order, from_logits=True).item() == pytest.approx(exact.item(), rel=3e-6, abs=0)
    variance = (a.double().softmax(-1) * (b - a).double() ** 2).sum() - (a.double().softmax(-1) * (b - a)).sum() ** 2
    assert exact.item() == pytest.approx(order * variance.item() / 2, rel=1e-3, abs=0)


@pytest.mark.parametrize("name", NAMES)
def test_logits_shifted_by_ten_thousand(name):
    """A constant added to a row changes nothing, beyond the rounding of the logits themselves."""
    a = torch.tensor([0.5, -0.25, 0.75, 0.0])
    b = torch.tensor([0.25, 0.0, -0.5, 1.0])
    value = fd.f_divergence(a, b, name, from_logits=True)
    moved = fd.f_divergence(a + 1e4, b - 1e4, name, from_logits=True)
    torch.testing.assert_close(moved, value, rtol=1e-5, atol=0)


def test_logits_of_minus_ten_thousand_lose_nothing():
    """Probabilities that underflow keep their logarithm."""
    for dtype in (torch.float32, torch.float64):
        a = torch.tensor([0.0, -1e4], dtype=dtype)
        b = torch.tensor([-1e4, 0.0], dtype=dtype)
        assert fd.kl(a, b, from_logits=True).item() == 1e4
        assert fd.reverse_kl(a, b, from_logits=True).item() == 1e4
        assert fd.jeffreys(a, b, from_logits=True).item() == 2e4
        assert fd.js(a, b, from_logits=True).item() == pytest.approx(math.log(2))
        assert fd.renyi(a, b, 0.5, from_logits=True).item() == pytest.approx(1e4, rel=1e-3, abs=0)
        assert fd.renyi(a, b, 3.0, from_logits=True).item() == pytest.approx(1.5e4 - 5e3)
        assert fd.renyi(a, b, math.inf, from_logits=True).item() == 1e4
        assert fd.chi2(a, b, from_logits=True).item() == math.inf
        assert fd.alpha_divergence(a, b, 0.999, from_logits=True).item() == pytest.approx(
            -math.expm1(-10) / (0.999 * 0.001), rel=1e-3
        )


def test_chi2_where_both_probabilities_underflow():
    """p^2 / q = e^(-2 x 150 + 290) is of order one while p and q are zero in float32."""
    a = torch.tensor([0.0, -150.0])
    b = torch.tensor([0.0, -299.0])
    assert fd.chi2(a, b, from_logits=True).item() == pytest.approx(math.exp(-1.0), rel=1e-5)
    a.requires_grad_()
    (gradient,) = torch.autograd.grad(fd.chi2(a, b, from_logits=True), a)
    assert gradient[1].item() == pytest.approx(2 * math.exp(-1.0), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precisions_are_summed_in_float32(dtype):
    generator = torch.Generator().manual_seed(2)
    a, b = torch.randn((2, 2000), generator=generator).to(dtype)
    value = fd.kl(a, b, from_logits=True)
    assert value.dtype == dtype
    torch.testing.assert_close(value, fd.kl(a.double(), b.double(), from_logits=True).to(dtype))
    assert fd.js(torch.tensor([0.5, 0.5], dtype=dtype), torch.tensor([1.0, 0.0], dtype=dtype)).dtype == dtype


def test_rounded_probabilities_stay_non_negative():
    """Rows whose sums differ in the last digits: the naive sum goes below zero, these do not."""
    generator = torch.Generator().manual_seed(3)
    p = torch.rand((300, 1000), generator=generator)
    q = p * (1 + 1e-6 * torch.randn(p.shape, generator=generator))
    p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
    naive = (p * (p / q).log()).sum(-1)
    assert bool((naive < 0).any())
    for name in NAMES:
        assert bool((fd.f_divergence(p, q, name) > 0).all())
        assert fd.f_divergence(p, p, name).abs().max() == 0
        assert fd.f_divergence(p.log(), p.log() + 1.0, name, from_logits=True).max() < 1e-12
