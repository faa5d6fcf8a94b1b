"""The kernel sum on a GPU: the kernel of a tile in registers, then its product with the columns of weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from howfar import kernels
from howfar.costs import Cost
from howfar.kernels import Kernel
from howfar.ops import triton_sums as sums
from howfar.ops import triton_tiles as tiles
from howfar.ops.triton_sums import Profile
from howfar.ops.triton_tiles import LOG2E, Form, Pair

Scale = float | Tensor


def why_unavailable(summand: Kernel | Cost, *tensors: Tensor) -> str | None:
    """Why this kernel on these tensors, points first, goes another way; None where it can be computed here."""
    if isinstance(summand, Cost):
        unknown = None if tiles.form_of(summand) is not None else f"the cost {summand.name}"
    else:
        unknown = next((f"the kernel {k.name}" for k in _terms(summand) if type(k) not in _PROFILES), None)
    return f"it does not know {unknown}" if unknown is not None else tiles.why_not_these(*tensors)


@torch.no_grad()
def kernel_sum(x: Tensor, y: Tensor, w: Tensor, summand: Kernel | Cost, *, precision: str = "ieee") -> Tensor:
    """sum_j k(x_i, y_j) w_jb: (..., n, B); `precision` as in the soft minimum's `softmin`."""
    total: Tensor | None = None
    for profile in _profiles(summand, x):
        part = sums.weighted(_pair(x, y, profile, precision), profile, tiles.flat(w, 2))
        total = part if total is None else total + part
    assert total is not None
    return total.reshape(*x.shape[:-1], w.shape[-1])


def forward(
    keep: bool,  # noqa: ARG001
    x: Tensor,
    y: Tensor,
    w: Tensor,
    summand: Kernel | Cost,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """`kernel_sum`; nothing is kept for the derivative."""
    return kernel_sum(x, y, w, summand), ()


@torch.no_grad()
def gradient(
    wanted: tuple[bool, ...], grad: Tensor, inputs: tuple[Tensor, ...], summand: Kernel | Cost
) -> tuple[Tensor | None, ...]:
    """The vector-Jacobian product of `kernel_sum` in x, y and w; None where it is not wanted."""
    x, y, w = inputs
    batch = x.shape[:-2]
    totals: list[Tensor | None] = [None, None, None]
    outer, inner = tiles.flat(grad, 2), tiles.flat(w, 2)
    for profile in _profiles(summand, x):
        pair = _pair(x, y, profile, "ieee")
        back = pair.swapped()
        grad_x = sums.gradient(pair, profile, outer, inner).reshape(*batch, *_tail(pair)) if wanted[0] else None
        grad_y = sums.gradient(back, profile, inner, outer).reshape(*batch, *_tail(back)) if wanted[1] else None
        parts = tiles.pull_back(x, y, profile.form, grad_x, grad_y)
        parts.append(sums.weighted(back, profile, outer).reshape(*batch, *w.shape[-2:]) if wanted[2] else None)
        for i, part in enumerate(parts):
            if part is not None:
                so_far = totals[i]
                totals[i] = part.to(x.dtype) if so_far is None else so_far + part.to(x.dtype)
    return tuple(totals)


def _tail(pair: Pair) -> tuple[int, int]:
    return pair.x.n, pair.x.d


def _pair(x: Tensor, y: Tensor, profile: Profile, precision: str) -> Pair:
    product = profile.guard is not None or profile.form.base == "inner"
    return tiles.pair(x, y, profile.form, product=product, precision=precision)


def _profiles(kernel: Kernel | Cost, x: Tensor) -> list[Profile]:
    """The kernel as profiles; terms that share their distance and their instructions share one pass."""
    if isinstance(kernel, Cost):
        form = tiles.form_of(kernel)
        assert form is not None
        return [Profile("power", form, [(1.0, form.exponent, form.p)])]
    groups: dict[tuple[object, ...], Profile] = {}
    for term in _terms(kernel):
        profile = _PROFILES[type(term)](term, x)
        key = (profile.name, profile.form.base, tiles.kind_of(profile.terms[0][1]), profile.degree)
        if key in groups:
            known = groups[key]
            guard = None
            if known.guard is not None and profile.guard is not None:
                guard = torch.maximum(known.guard, profile.guard)
            profile = replace(known, terms=[*known.terms, *profile.terms], guard=guard)
        groups[key] = profile
    return list(groups.values())


def _terms(kernel: Kernel) -> tuple[Kernel, ...]:
    return tuple(t for k in kernel.kernels for t in _terms(k)) if type(kernel) is kernels.Sum else (kernel,)


def _each(scale: Scale, x: Tensor) -> Tensor:
    """A bandwidth as (batch,) in float64; a tensor of the batch's comes with two axes of size 1."""
    batch = x.shape[:-2]
    wide = torch.as_tensor(scale, dtype=torch.float64, device=x.device)
    return (wide[..., 0, 0] if wide.ndim else wide).expand(batch).reshape(-1)


def _gaussian(k: kernels.Gaussian, x: Tensor) -> Profile:
    scale = (LOG2E / (2 * _each(k.s, x) ** 2)).to(x.dtype)
    return Profile("exponential", Form("squared"), [(scale, 1.0, 0.0)], guard=scale)


def _laplacian(k: kernels.Laplacian, x: Tensor) -> Profile:
    scale = (LOG2E / _each(k.s, x)).to(x.dtype)
    cityblock = k.norm == "cityblock"
    exponent = 1.0 if cityblock else 0.5
    return Profile("exponential", Form("cityblock" if cityblock else "squared", exponent), [(scale, exponent, 0.0)])


def _imq(k: kernels.IMQ, x: Tensor) -> Profile:
    scale = (1 / _each(k.s, x) ** 2).to(x.dtype)
    return Profile("rational", Form("squared"), [(scale, 0.5, 0.0)], guard=scale)


def _rational_quadratic(k: kernels.RationalQuadratic, x: Tensor) -> Profile:
    scale = (1 / (2 * k.alpha * _each(k.s, x) ** 2)).to(x.dtype)
    return Profile("rational", Form("squared"), [(scale, k.alpha, 0.0)], guard=scale * k.alpha)


def _energy(k: kernels.Energy, x: Tensor) -> Profile:  # noqa: ARG001
    return Profile("power", Form("squared", k.exponent / 2), [(-1.0, k.exponent / 2, 0.0)])


def _polynomial(k: kernels.Polynomial, x: Tensor) -> Profile:
    gamma = 1 / x.shape[-1] if k.gamma is None else k.gamma
    return Profile("polynomial", Form("inner"), [(gamma, 1.0, k.coef)], degree=k.degree)


def _linear(k: kernels.Linear, x: Tensor) -> Profile:  # noqa: ARG001
    return Profile("polynomial", Form("inner"), [(1.0, 1.0, 0.0)])


_PROFILES: dict[type[Kernel], Callable[..., Profile]] = {
    kernels.Gaussian: _gaussian,
    kernels.Laplacian: _laplacian,
    kernels.IMQ: _imq,
    kernels.RationalQuadratic: _rational_quadratic,
    kernels.Energy: _energy,
    kernels.Polynomial: _polynomial,
    kernels.Linear: _linear,
}
