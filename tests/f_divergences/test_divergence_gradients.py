"""Derivatives: exact inside, finite on the boundary, never NaN."""

import math

import pytest
import torch

from howfar import f_divergences as fd
from howfar.f_divergences.discrete import log_affinity
from howfar.f_divergences.terms import Ratio

NAMED = {name: fd.GENERATORS[name] for name in fd.GENERATORS}
POWERS = {f"alpha({order})": fd.alpha(order) for order in (-1.4, 1e-9, 0.3, 1.2, 2.6)}
ALL = {**NAMED, **POWERS, "weighted_js": fd.weighted_js(0.2)}
SMOOTH = {name: row for name, row in ALL.items() if name != "tv"}
DENORMAL = {torch.float32: 1e-42, torch.float64: 1e-310}


def edges(dtype):
    denormal = DENORMAL[dtype]
    rows = [
        [0.5, 0.5, 0.0, 0.0],
        [0.0, 0.0, 0.5, 0.5],
        [denormal, 1.0, 0.0, 0.0],
        [0.25, 0.25, 0.25, 0.25],
        [0.0, 0.5, 0.5, 0.0],
    ]
    return torch.tensor(rows, dtype=dtype)


def pair(seed=0, k=5):
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.rand((2, 2, k), generator=generator, dtype=torch.float64) + 0.05
    return (p / p.sum(-1, keepdim=True)).requires_grad_(), (q / q.sum(-1, keepdim=True)).requires_grad_()


@pytest.mark.parametrize("row", SMOOTH.values(), ids=SMOOTH)
@pytest.mark.parametrize("from_logits", [False, True])
def test_first_and_second_derivatives(row, from_logits):
    p, q = pair()
    inputs = tuple(side.detach().log().requires_grad_() for side in (p, q)) if from_logits else (p, q)

    def value(left, right):
        return fd.f_divergence(left, right, row, from_logits=from_logits)

    assert torch.autograd.gradcheck(value, inputs)
    assert torch.autograd.gradgradcheck(value, inputs)


@pytest.mark.parametrize("row", SMOOTH.values(), ids=SMOOTH)
@pytest.mark.parametrize("from_logits", [False, True])
def test_derivatives_where_p_equals_q(row, from_logits):
    """The gradient is zero there, and the Hessian f''(1) / q, to full precision: digits must not cancel."""
    q = pair(1)[1].detach()[:1]
    left, right = (q.log(), q.log()) if from_logits else (q.clone(), q.clone())
    left.requires_grad_()
    value = fd.f_divergence(left, right, row, from_logits=from_logits)
    (gradient,) = torch.autograd.grad(value.sum(), left, create_graph=True)
    assert gradient.abs().max() < 1e-15
    hessian = torch.stack([torch.autograd.grad(entry, left, retain_graph=True)[0][0] for entry in gradient[0]])
    one = torch.ones((), dtype=torch.float64, requires_grad=True)
    (curvature,) = torch.autograd.grad(row.derivative(one), one)
    diagonal = torch.diag(q[0]) if from_logits else torch.diag(1 / q[0])
    expected = curvature * (diagonal - torch.outer(q[0], q[0]) if from_logits else diagonal)
    torch.testing.assert_close(hessian, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("row", SMOOTH.values(), ids=SMOOTH)
def test_the_gradient_is_the_best_critic(row):
    """d D / d p = f'(p / q) up to the tangent at one, to relative accuracy in float32 too."""
    p, q = pair(2)
    (gradient,) = torch.autograd.grad(fd.f_divergence(p, q, row).sum(), p)
    expected = row.derivative(p / q) - row.threshold
    torch.testing.assert_close(gradient, expected.detach(), rtol=1e-9, atol=1e-12)
    close = (q * (1 + 1e-3 * torch.linspace(-1, 1, 5, dtype=torch.float64))).detach()
    single = close.float().requires_grad_()
    (gradient,) = torch.autograd.grad(row.summands(Ratio.of_probabilities(single, q.float())).sum(), single)
    exact = row.derivative(single.detach().double() / q.float().double()) - row.threshold
    torch.testing.assert_close(gradient.double(), exact.detach(), rtol=1e-4, atol=2e-7)


def test_total_variation_derivative():
    p = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.4, 0.3, 0.3], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(fd.tv(p, q), p)
    assert gradient.tolist() == [0.5, -0.5, 0.0]


@pytest.mark.parametrize("order", [0.3, 0.999999, 1.0, 1.6, 4.0, math.inf])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_renyi_derivatives(order, from_logits, scale):
    """Near and far from p = q, the two formulas."""
    generator = torch.Generator().manual_seed(3)
    a, b = scale * torch.rand((2, 2, 4), generator=generator, dtype=torch.float64)
    inputs = (a.requires_grad_(), b.requires_grad_())

    def value(left, right):
        if from_logits:
            return fd.renyi(left, right, order, from_logits=True)
        return fd.renyi(left.softmax(-1), right.softmax(-1), order)

    assert torch.autograd.gradcheck(value, inputs)
    assert torch.autograd.gradgradcheck(value, inputs)


@pytest.mark.parametrize(
    "row", [*ALL.values(), 0.0, 0.4, 1.7, math.inf], ids=[*ALL, "renyi0", "renyi.4", "renyi1.7", "renyi inf"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zeros_and_denormals_give_finite_gradients(row, dtype):
    """All pairs of rows with zeros, numbers too small for 1/x, and infinite values among them."""

    def value(left, right, **options):
        if isinstance(row, float):
            return fd.renyi(left, right, row, **options)
        return fd.f_divergence(left, right, row, **options)

    with torch.autograd.set_detect_anomaly(True):
        p, q = (edges(dtype)[index].clone().requires_grad_() for index in ((slice(None), None), (None,)))
        values = value(p, q)
        assert not bool(values.isnan().any())
        gradients = torch.autograd.grad(values.sum(), (p, q), create_graph=True)
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)
        if gradients[0].requires_grad:
            total = sum(gradient.sum() for gradient in gradients)
            seconds = torch.autograd.grad(total, (p, q), allow_unused=True, materialize_grads=True)
            assert not any(bool(second.isnan().any()) for second in seconds)
        a, b = (side.detach().log().requires_grad_() for side in (p, q))
        logits = value(a, b, from_logits=True)
        torch.testing.assert_close(logits.detach(), values.detach(), rtol=2e-5, atol=1e-6)
        gradients = torch.autograd.grad(logits.sum(), (a, b))
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize(
    ("name", "of_p", "of_q"),
    [
        # p = (0, 1/2, 1/2), q = (1/2, 1/4, 1/4): derivatives in the entry where p is zero
        ("kl", 0.0, 1.0),
        ("js", 0.0, 0.5 * math.log(2)),
        ("tv", -0.5, 0.5),
        ("hellinger", 0.0, 0.5),
        ("chi2", -2.0, 1.0),
        ("triangular", -3.0, 1.0),
    ],
)
def test_one_sided_derivatives_at_a_zero(name, of_p, of_q):
    """f'(0) less the tangent in p, zero in place of -inf; f(0) less the tangent in q."""
    p = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64, requires_grad=True)
    g_p, g_q = torch.autograd.grad(fd.f_divergence(p, q, name), (p, q))
    assert g_p[0].item() == pytest.approx(of_p)
    assert g_q[0].item() == pytest.approx(of_q)
    g_q, g_p = torch.autograd.grad(
        fd.f_divergence(q, p, {"kl": "reverse_kl", "chi2": "neyman_chi2"}.get(name, name)), (q, p)
    )
    assert g_p[0].item() == pytest.approx(of_p)
    assert g_q[0].item() == pytest.approx(of_q)


def test_the_one_sided_derivative_is_the_difference_quotient():
    q = torch.tensor([0.5, 0.5], dtype=torch.float64)
    for row in (fd.GENERATORS["tv"], fd.GENERATORS["chi2"], fd.GENERATORS["triangular"], fd.alpha(1.5), fd.alpha(3.0)):
        p = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(fd.f_divergence(p, q, row), p)
        step = 1e-10
        moved = fd.f_divergence(torch.tensor([step, 1.0 - step], dtype=torch.float64), q, row)
        quotient = (moved - fd.f_divergence(p, q, row).detach()).item() / step
        assert (gradient[0] - gradient[1]).item() == pytest.approx(quotient, abs=1e-4)


@pytest.mark.parametrize("name", ["kl", "js", "chi2", "jeffreys"])
def test_softmax_that_underflows_still_trains(name):
    """Probabilities of exactly zero from a softmax: -inf times 0 would be NaN."""
    a = torch.tensor([200.0, 0.0, 0.0], requires_grad=True)
    q = torch.tensor([0.2, 0.4, 0.4])
    (gradient,) = torch.autograd.grad(fd.f_divergence(a.softmax(-1), q, name), a)
    assert bool(gradient.isfinite().all())
    (gradient,) = torch.autograd.grad(fd.f_divergence(a, q.log(), name, from_logits=True), a)
    assert bool(gradient.isfinite().all())


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own first use of forward mode
def test_forward_mode_and_hessian():
    p, q = (side.detach()[0] for side in pair(4))

    def value(x):
        return fd.js(x, q.log(), from_logits=True)

    logits = p.log()
    tangent = torch.linspace(-1, 1, 5, dtype=torch.float64)
    out, slope = torch.func.jvp(value, (logits,), (tangent,))
    gradient = torch.func.grad(value)(logits)
    assert slope.item() == pytest.approx((gradient * tangent).sum().item(), rel=1e-12)
    assert out.item() == pytest.approx(value(logits).item())
    torch.testing.assert_close(torch.func.hessian(value)(logits), torch.autograd.functional.hessian(value, logits))


@pytest.mark.slow
def test_compiles_without_a_break():
    p, q = (side.detach() for side in pair(5))

    def loss(left, right):
        return fd.kl(left, right).sum() + fd.js(left, right, from_logits=True).sum() + fd.renyi(left, right, 2.5).sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    traced, plain = p.clone().requires_grad_(), p.clone().requires_grad_()
    compiled(traced, q).backward()
    loss(plain, q).backward()
    torch.testing.assert_close(traced.grad, plain.grad)


def test_affinity_of_one_row_and_itself_is_one():
    p = pair(6)[0].detach()
    for order in (-2.0, 0.5, 3.0):
        assert log_affinity(Ratio.of_probabilities(p, p), order).abs().max() == 0
