"""The table of f-divergences: one convex function each, with all that a value, a bound or a critic needs of it.

D_f(p, q) = sum q f(p / q), f convex (Csiszár 1967; Ali and Silvey 1966). From below it is a supremum over
critics T, D_f >= E_p[T] - E_q[f*(T)], with equality at T = f'(p / q) (Nguyen, Wainwright and Jordan 2010;
Nowozin, Cseke and Tomioka 2016), so a row also holds the convex conjugate f*(t) = sup_u (u t - f(u)), and an
increasing map `activation` from any real score v into the domain of f*.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from howfar import _checks
from howfar._errors import DerivativeUnavailable, DomainError, complaint, unknown_name
from howfar.f_divergences import terms

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Generator:
    """One convex function f of the ratio u = p / q, and what follows from it.

    Attributes:
        name: its name in `GENERATORS`.
        f: u -> f(u), u >= 0.
        derivative: u -> f'(u), the optimal critic of the ratio u.
        conjugate: t -> f*(t), infinite outside its domain.
        activation: v -> T, increasing, from the reals into the domain of f*.
        conjugate_of_activation: v -> f*(T(v)), straight from v, so that nothing overflows on the way.
        at_zero: f(0), infinite where p = 0 costs infinitely much.
        at_infinity: lim f(u) / u, infinite where q = 0 costs infinitely much.
        halves: the summands at ratios up to one, and the other ones, without cancellation; one object twice
            where f is symmetric.
        at_one: f(1), the divergence of equal distributions; zero but for `gan`.
        powers: (c, a) pairs with D_f = sum of c times the divergence of order a, where that is what it is.

    Example:
        >>> import torch
        >>> from howfar.f_divergences import GENERATORS
        >>> kl = GENERATORS["kl"]
        >>> kl.derivative(torch.tensor(1.0)), kl.supremum
        (tensor(1.), inf)
    """

    name: str
    f: Function
    derivative: Function
    conjugate: Function
    activation: Function
    conjugate_of_activation: Function
    at_zero: float
    at_infinity: float
    halves: tuple[terms.Half, terms.Half]
    at_one: float = 0.0
    powers: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, f: Function, *, at_zero: float, at_infinity: float, name: str = "custom") -> Generator:
        """A generator from f, convex and twice differentiable, and its two limits f(0) and lim f(u) / u.

        Example:
            >>> import torch, howfar
            >>> exponential = Generator.of(lambda u: torch.exp(-u), at_zero=1.0, at_infinity=0.0)
            >>> howfar.f_divergence([0.5, 0.5], [0.5, 0.5], exponential)
            tensor(0.3679)
        """
        one = torch.ones((), dtype=torch.float64)

        def derivative(u: Tensor) -> Tensor:
            with torch.enable_grad():
                leaf = u if u.requires_grad else u.detach().requires_grad_()
                (slope,) = torch.autograd.grad(f(leaf).sum(), leaf, create_graph=u.requires_grad)
            return slope

        def missing(_: Tensor) -> Tensor:
            raise DerivativeUnavailable(
                f"{name}: its convex conjugate is not known from f alone. Build the Generator with conjugate=, "
                "activation= and conjugate_of_activation=."
            )

        at_one = float(f(one))
        halves = terms.numeric_halves(f, at_one, float(derivative(one)), at_zero, at_infinity)
        return cls(name, f, derivative, missing, missing, missing, at_zero, at_infinity, halves, at_one)

    @property
    def threshold(self) -> float:
        """f'(1): a critic above it says that p is the likelier."""
        return float(self.derivative(torch.ones((), dtype=torch.float64)))

    @property
    def supremum(self) -> float:
        """f(0) + lim f(u) / u: the divergence of distributions that share no point."""
        return self.at_zero + self.at_infinity

    def summands(self, ratio: terms.Ratio) -> Tensor:
        """q (f(u) - f(1) - f'(1) (u - 1)) for each entry: non-negative, of second order at p = q."""
        below, above = self.halves
        if below is above:
            return below(ratio)
        return below(ratio.where(~ratio.p_larger)) + above(ratio.where(ratio.p_larger))

    def scaled(self, factor: float, name: str) -> Generator:
        """The generator `factor` times f, `factor` > 0."""
        below, above = self.halves

        def grown(half: terms.Half) -> terms.Half:
            return lambda ratio: factor * half(ratio)

        first = grown(below)
        return Generator(
            name=name,
            f=lambda u: factor * self.f(u),
            derivative=lambda u: factor * self.derivative(u),
            conjugate=lambda t: factor * self.conjugate(t / factor),
            activation=lambda v: factor * self.activation(v),
            conjugate_of_activation=lambda v: factor * self.conjugate_of_activation(v),
            at_zero=factor * self.at_zero,
            at_infinity=factor * self.at_infinity,
            halves=(first, first if below is above else grown(above)),
            at_one=factor * self.at_one,
            powers=tuple((factor * scale, order) for scale, order in self.powers),
        )


def alpha(order: float) -> Generator:
    """The power divergence of order a: f(u) = (u^a - 1 - a (u - 1)) / (a (a - 1)).

    The limits are KL at a = 1 and reverse KL at a = 0; a = 1/2 is four times `hellinger`, a = 2 half of
    Pearson's chi2, a = -1 half of Neyman's. Swapping p and q turns a into 1 - a.
    (Cressie and Read 1984; Liese and Vajda 2006.)

    Raises:
        DomainError: the order is not a finite number.
    """
    a = _checks.check_number(order, "alpha")
    if a == 1.0:
        return GENERATORS["kl"]
    if a == 0.0:
        return GENERATORS["reverse_kl"]
    b = a - 1.0

    def conjugate(t: Tensor) -> Tensor:
        base = 1.0 + b * t
        if a > 1.0:
            return (base.clamp_min(0.0) ** (a / b) - 1.0) / a
        return _where(base > 0, base, 1.0, lambda x: (x ** (a / b) - 1.0) / a)

    def activation(v: Tensor) -> Tensor:
        return v if a > 1.0 else -1.0 / b - _softplus(-v)

    def conjugate_of_activation(v: Tensor) -> Tensor:
        if a > 1.0:
            return conjugate(v)
        # log(softplus(-v)) is -v to the last digit beyond 40, where the inner exponential would underflow
        log_softplus = torch.where(v > 40.0, -v, _softplus(-v.clamp_max(40.0)).log())
        return torch.expm1(a / b * (math.log(-b) + log_softplus)) / a

    return Generator(
        name=f"alpha({a:g})",
        f=lambda u: (u**a - 1.0 - a * (u - 1.0)) / (a * b),
        derivative=lambda u: (u**b - 1.0) / b,
        conjugate=conjugate,
        activation=activation,
        conjugate_of_activation=conjugate_of_activation,
        at_zero=1.0 / a if a > 0 else math.inf,
        at_infinity=math.inf if a >= 1 else 1.0 / (1.0 - a),
        halves=(terms.power_half(a), terms.power_half(1.0 - a)),
        powers=((1.0, a),),
    )


def weighted_js(weight: float) -> Generator:
    """weight KL(p, m) + (1 - weight) KL(q, m) with m = weight p + (1 - weight) q, 0 < weight < 1 (Lin 1991).

    f(u) = w u log u - (1 - w + w u) log(1 - w + w u). At weight 1/2 it is `js`.

    Raises:
        DomainError: the weight is not strictly between zero and one.
    """
    w = _checks.check_number(weight, "weight")
    if not 0.0 < w < 1.0:
        raise DomainError(complaint("weight", "a number in (0, 1)", f"{w:g}", "Use kl or reverse_kl for the ends."))
    c = 1.0 - w

    def mixture(u: Tensor) -> Tensor:
        return c + w * u

    return Generator(
        name=f"weighted_js({w:g})",
        f=lambda u: w * torch.xlogy(u, u) - mixture(u) * mixture(u).log(),
        derivative=lambda u: w * (u.log() - mixture(u).log()),
        conjugate=lambda t: _where(
            t < -w * math.log(w), t, 0.0, lambda x: c * (math.log(c) - torch.log1p(-w * (x / w).exp()))
        ),
        activation=lambda v: w * (-math.log(w) - _softplus(-v)),
        conjugate_of_activation=lambda v: c * (math.log(c) + _softplus(v)),
        at_zero=-c * math.log(c),
        at_infinity=-w * math.log(w),
        halves=(terms.mixture_half(w), terms.mixture_half(c)),
    )


def _softplus(v: Tensor) -> Tensor:
    """log(1 + e^v); torch's own softplus is linear beyond 20, which costs six digits of float64."""
    return -logsigmoid(-v)


def _where(inside: Tensor, t: Tensor, interior: float, value: Function) -> Tensor:
    """`value(t)` inside the domain and infinity outside, with no NaN in the gradient."""
    return torch.where(inside, value(torch.where(inside, t, interior)), math.inf)


def _wright_omega(z: Tensor) -> Tensor:
    """The solution w > 0 of w + log w = z, that is Lambert's W at e^z without the overflow."""
    return terms.analytic(z, _omega_value, lambda x: _wright_omega(x) / (1.0 + _wright_omega(x)))


def _omega_value(z: Tensor) -> Tensor:
    tiny = torch.finfo(z.dtype).tiny
    w = torch.where(z > 1.0, z - z.clamp_min(1.0).log(), z.clamp_max(1.0).exp()).clamp_min(tiny)
    for _ in range(4):  # Halley's rule: cubic, and from these starts exact to the last digit after three
        residual = z - w - w.log()
        slope = 2.0 * (1.0 + w) * (1.0 + w + 2.0 * residual / 3.0)
        w = (w * (1.0 + residual / (1.0 + w) * (slope - residual) / (slope - 2.0 * residual))).clamp_min(tiny)
    return w


def _jeffreys_conjugate(t: Tensor) -> Tensor:
    z = 1.0 - t
    w = _wright_omega(z)
    return w + (w - z).exp() + t - 2.0  # 1 / w = e^(w - z), whose derivative does not pass through w squared


def _triangular_conjugate(root: Tensor) -> Tensor:
    """f* as a function of r = sqrt(1 - t): the best u is 2 / r - 1, and u = 0 where r > 2."""
    r = root.clamp_max(2.0)
    return (r - 1.0) * (r - 3.0)


def _rows() -> dict[str, Generator]:
    log2 = math.log(2.0)
    root, mixture = terms.power_half(0.5, 0.5), terms.mixture_half(0.5, 2.0)
    both_kl = _sum(terms.power_half(1.0), terms.power_half(0.0))
    kl = Generator(
        name="kl",
        f=lambda u: torch.xlogy(u, u),
        derivative=lambda u: 1.0 + u.log(),
        conjugate=lambda t: (t - 1.0).exp(),
        activation=lambda v: v,
        conjugate_of_activation=lambda v: (v - 1.0).exp(),
        at_zero=0.0,
        at_infinity=math.inf,
        halves=(terms.power_half(1.0), terms.power_half(0.0)),
        powers=((1.0, 1.0),),
    )
    reverse_kl = Generator(
        name="reverse_kl",
        f=lambda u: -u.log(),
        derivative=lambda u: -1.0 / u,
        conjugate=lambda t: _where(t < 0, t, -1.0, lambda x: -1.0 - (-x).log()),
        activation=lambda v: -(-v).exp(),
        conjugate_of_activation=lambda v: v - 1.0,
        at_zero=math.inf,
        at_infinity=0.0,
        halves=(terms.power_half(0.0), terms.power_half(1.0)),
        powers=((1.0, 0.0),),
    )
    chi2 = Generator(
        name="chi2",
        f=lambda u: (u - 1.0) ** 2,
        derivative=lambda u: 2.0 * (u - 1.0),
        conjugate=lambda t: t**2 / 4.0 + t,
        activation=lambda v: v,
        conjugate_of_activation=lambda v: v**2 / 4.0 + v,
        at_zero=1.0,
        at_infinity=math.inf,
        halves=(terms.power_half(2.0, 2.0), terms.power_half(-1.0, 2.0)),
        powers=((2.0, 2.0),),
    )
    neyman_chi2 = Generator(
        name="neyman_chi2",
        f=lambda u: (1.0 - u) ** 2 / u,
        derivative=lambda u: 1.0 - u**-2,
        conjugate=lambda t: _where(t <= 1.0, t, 0.0, lambda x: 2.0 - 2.0 * (1.0 - x).sqrt()),
        activation=lambda v: 1.0 - (-v).exp(),
        conjugate_of_activation=lambda v: 2.0 - 2.0 * (-v / 2.0).exp(),
        at_zero=math.inf,
        at_infinity=1.0,
        halves=(terms.power_half(-1.0, 2.0), terms.power_half(2.0, 2.0)),
        powers=((2.0, -1.0),),
    )
    fgan_hellinger = Generator(
        name="fgan_hellinger",
        f=lambda u: (u.sqrt() - 1.0) ** 2,
        derivative=lambda u: 1.0 - u**-0.5,
        conjugate=lambda t: _where(t < 1.0, t, 0.0, lambda x: x / (1.0 - x)),
        activation=lambda v: 1.0 - (-v).exp(),
        conjugate_of_activation=lambda v: torch.expm1(v),
        at_zero=1.0,
        at_infinity=1.0,
        halves=(root, root),
        powers=((0.5, 0.5),),
    )
    fgan_js = Generator(
        name="fgan_js",
        f=lambda u: torch.xlogy(u, u) - (u + 1.0) * ((u + 1.0) / 2.0).log(),
        derivative=lambda u: log2 - torch.log1p(1.0 / u),
        conjugate=lambda t: _where(t < log2, t, 0.0, lambda x: -(2.0 - x.exp()).log()),
        activation=lambda v: log2 - _softplus(-v),
        conjugate_of_activation=lambda v: _softplus(v) - log2,
        at_zero=log2,
        at_infinity=log2,
        halves=(mixture, mixture),
    )
    gan = replace(
        fgan_js,
        name="gan",
        f=lambda u: torch.xlogy(u, u) - (u + 1.0) * torch.log1p(u),
        derivative=lambda u: -torch.log1p(1.0 / u),
        conjugate=lambda t: _where(t < 0.0, t, -1.0, lambda x: -(-torch.expm1(x)).log()),
        activation=lambda v: -_softplus(-v),
        conjugate_of_activation=lambda v: _softplus(v),
        at_zero=0.0,
        at_infinity=0.0,
        at_one=-2.0 * log2,
    )
    tv = Generator(
        name="tv",
        f=lambda u: 0.5 * (u - 1.0).abs(),
        derivative=lambda u: 0.5 * (u - 1.0).sign(),
        conjugate=lambda t: _where(t <= 0.5, t, 0.0, lambda x: x.clamp_min(-0.5)),
        activation=lambda v: 0.5 * v.tanh(),
        conjugate_of_activation=lambda v: 0.5 * v.tanh(),
        at_zero=0.5,
        at_infinity=0.5,
        halves=(terms.absolute_half, terms.absolute_half),
    )
    jeffreys = Generator(
        name="jeffreys",
        f=lambda u: (u - 1.0) * u.log(),
        derivative=lambda u: 1.0 - 1.0 / u + u.log(),
        conjugate=_jeffreys_conjugate,
        activation=lambda v: v,
        conjugate_of_activation=_jeffreys_conjugate,
        at_zero=math.inf,
        at_infinity=math.inf,
        halves=(both_kl, both_kl),
        powers=((1.0, 1.0), (1.0, 0.0)),
    )
    triangular = Generator(
        name="triangular",
        f=lambda u: (u - 1.0) ** 2 / (u + 1.0),
        derivative=lambda u: 1.0 - 4.0 / (u + 1.0) ** 2,
        conjugate=lambda t: _where(t <= 1.0, t, 0.0, lambda x: _triangular_conjugate((1.0 - x).sqrt())),
        activation=lambda v: 1.0 - (-v).exp(),
        conjugate_of_activation=lambda v: _triangular_conjugate((-v / 2.0).exp()),
        at_zero=1.0,
        at_infinity=1.0,
        halves=(terms.triangular_half, terms.triangular_half),
    )
    rows = (
        kl,
        reverse_kl,
        fgan_js.scaled(0.5, "js"),
        tv,
        fgan_hellinger.scaled(0.5, "hellinger"),
        chi2,
        neyman_chi2,
        jeffreys,
        triangular,
        gan,
        fgan_js,
        fgan_hellinger,
    )
    return {row.name: row for row in rows}


def _sum(first: terms.Half, second: terms.Half) -> terms.Half:
    return lambda ratio: first(ratio) + second(ratio)


GENERATORS: Mapping[str, Generator] = MappingProxyType(_rows())
"""Every named generator. A row of a public function gives that function's value: `js` at most log 2, `hellinger`
at most 1. `fgan_js` and `fgan_hellinger` are twice these, as the f-GAN paper lists them; `gan` is 2 JS - 2 log 2."""


def generator_of(name_or_generator: str | Generator) -> Generator:
    """The generator itself, or the row of that name.

    Raises:
        UnknownName: no row has that name; the error names the nearest.
    """
    if isinstance(name_or_generator, Generator):
        return name_or_generator
    if isinstance(name_or_generator, str) and name_or_generator in GENERATORS:
        return GENERATORS[name_or_generator]
    raise unknown_name("divergence", name_or_generator, GENERATORS)
