"""What is known in closed form about two `torch.distributions`: their tables, their KL, their affinities.

The affinity of order a is the integral of p^a q^(1 - a). With it come chi2, Hellinger, Rényi and every power
divergence. For two members of one exponential family it is exp(F(a s + (1 - a) t) - a F(s) - (1 - a) F(t))
with F the log-normaliser and s, t the natural parameters, infinite where a s + (1 - a) t lies outside the
family (Nielsen and Nock 2011). Everything is computed in float64, since it is a difference of large numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.distributions as td
from torch import Tensor
from torch.distributions.exp_family import ExponentialFamily

from howfar.f_divergences import discrete
from howfar.f_divergences.terms import Ratio

_LARGEST_TABLE = 2**16
"""Entries of the joint table of independent classes; beyond it, sampling is the cheaper way."""

_PLAIN = (
    td.Normal, td.LogNormal, td.HalfNormal, td.Laplace, td.Cauchy, td.HalfCauchy, td.Gumbel, td.Uniform,
    td.Exponential, td.Gamma, td.Beta, td.Dirichlet, td.Poisson, td.Pareto,
)  # fmt: skip
"""Distributions whose constructor takes exactly the names in `arg_constraints`."""

_DOMAINS: dict[type[ExponentialFamily], Callable[..., Tensor]] = {
    td.Gamma: lambda shape, rate: (shape > -1) & (rate < 0),
    td.Exponential: lambda rate: rate < 0,
    td.Beta: lambda first, second: (first > 0) & (second > 0),
    td.Dirichlet: lambda concentration: (concentration > 0).all(-1),
    td.Poisson: lambda log_rate: log_rate < math.inf,
    td.ContinuousBernoulli: lambda logits: logits.isfinite(),
}
"""Where the natural parameters of a family may lie."""


def kl(p: td.Distribution, q: td.Distribution) -> Tensor | None:
    """KL(p, q) by the rule that torch has registered, or None."""
    try:
        divergence: Tensor = td.kl_divergence(in_float64(p), in_float64(q))
    except NotImplementedError:
        return None
    return None if bool(divergence.isnan().any()) else nonnegative(divergence)


def log_affinity(p: td.Distribution, q: td.Distribution, order: float) -> Tensor | None:
    """The logarithm of the affinity of order a, or None where no closed form is known."""
    found = _log_affinity(p, q, order)
    if found is None or bool(found.isnan().any()):
        return None
    return -nonnegative(-found) if 0.0 < order < 1.0 else nonnegative(found)


def nonnegative(value: Tensor) -> Tensor:
    """Rounding below zero removed, the derivative kept."""
    return torch.where(value < 0, value - value.detach(), value)


def _log_affinity(p: td.Distribution, q: td.Distribution, order: float) -> Tensor | None:
    if isinstance(p, td.Independent) and isinstance(q, td.Independent):
        if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
            return None
        inner = _log_affinity(p.base_dist, q.base_dist, order)
        dims = p.reinterpreted_batch_ndims
        return inner if inner is None or not dims else inner.flatten(-dims).sum(-1)
    if isinstance(p, td.TransformedDistribution) and isinstance(q, td.TransformedDistribution):
        if p.transforms == q.transforms and all(t.bijective for t in p.transforms):
            return _log_affinity(p.base_dist, q.base_dist, order)
        return None
    tables = log_tables(p, q)
    if tables is not None:
        return discrete.log_affinity(Ratio.of_logits(*tables), order)
    if isinstance(p, td.Normal) and isinstance(q, td.Normal):
        return _normal(p, q, order)
    if _is_multivariate_normal(p) and _is_multivariate_normal(q):
        return _multivariate_normal(p, q, order)
    return _exponential_family(p, q, order)


def _is_multivariate_normal(p: td.Distribution) -> bool:
    return isinstance(p, td.MultivariateNormal | td.LowRankMultivariateNormal)


def _normal(p: td.Normal, q: td.Normal, order: float) -> Tensor:
    """-a (1 - a) z^2 / 2 v - log(v) / 2 + ..., with v = (1 - a) + a t and t the ratio of the variances of q and p."""
    log_t = 2.0 * (q.scale.double().log() - p.scale.double().log())
    z = (p.loc.double() - q.loc.double()) / p.scale.double()
    exists = 1.0 + order * torch.expm1(log_t) > 0
    log_v = torch.log1p(order * torch.expm1(torch.where(exists, log_t, 0.0)))
    value = 0.5 * (order * log_t - log_v - order * (1.0 - order) * z**2 * (-log_v).exp())
    return torch.where(exists, value, math.inf)


def _multivariate_normal(p: td.Distribution, q: td.Distribution, order: float) -> Tensor:
    first, second = p.covariance_matrix.double(), q.covariance_matrix.double()  # type: ignore[attr-defined]
    between = (1.0 - order) * first + order * second
    exists = torch.linalg.cholesky_ex(between.detach()).info == 0
    root = torch.linalg.cholesky(torch.where(exists[..., None, None], between, torch.eye(first.shape[-1]).to(first)))
    gap = (p.mean.double() - q.mean.double()).unsqueeze(-1)
    z = torch.linalg.solve_triangular(root, gap.expand(*root.shape[:-1], 1), upper=False).squeeze(-1)
    logs = (1.0 - order) * _half_log_det(first) + order * _half_log_det(second) - _log_diagonal(root)
    value = logs - 0.5 * order * (1.0 - order) * z.square().sum(-1)
    return torch.where(exists, value, math.inf)


def _half_log_det(covariance: Tensor) -> Tensor:
    return _log_diagonal(torch.linalg.cholesky(covariance))


def _log_diagonal(root: Tensor) -> Tensor:
    return root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _exponential_family(p: td.Distribution, q: td.Distribution, order: float) -> Tensor | None:
    families = [family for family in _DOMAINS if isinstance(p, family) and isinstance(q, family)]
    if not families:
        return None
    family = families[0]
    s, t = ([parameter.double() for parameter in _natural(family, side)] for side in (p, q))
    between = [two + order * (one - two) for one, two in zip(s, t, strict=True)]
    exists = _DOMAINS[family](*between)
    inside = exists.unsqueeze(-1) if family is td.Dirichlet else exists
    safe = [torch.where(inside, middle, two) for middle, two in zip(between, t, strict=True)]
    # a member of the family only lends its formula here: ContinuousBernoulli keeps a constant on the instance
    of_t = family._log_normalizer(q, *t)  # type: ignore[arg-type]
    of_s = family._log_normalizer(q, *s)  # type: ignore[arg-type]
    value = (family._log_normalizer(q, *safe) - of_t) - order * (of_s - of_t)  # type: ignore[arg-type]
    return torch.where(exists, value, math.inf)


def _natural(family: type[ExponentialFamily], member: td.Distribution) -> tuple[Tensor, ...]:
    parameters: tuple[Tensor, ...] = family._natural_params.fget(in_float64(member))  # type: ignore[attr-defined]
    return parameters


def in_float64(p: td.Distribution) -> td.Distribution:
    """The same distribution with parameters in float64, or `p` itself where its constructor is not known."""
    if type(p) in _PLAIN:
        arguments = {name: getattr(p, name).double() for name in p.arg_constraints}
        return type(p)(**arguments, validate_args=False)
    if type(p) is td.MultivariateNormal:
        return td.MultivariateNormal(p.loc.double(), scale_tril=p.scale_tril.double(), validate_args=False)
    if type(p) is td.Independent:
        return td.Independent(in_float64(p.base_dist), p.reinterpreted_batch_ndims, validate_args=False)
    return p


def log_tables(p: td.Distribution, q: td.Distribution) -> tuple[Tensor, Tensor] | None:
    """Log-probabilities (..., k) of both over one finite list of outcomes, or None."""
    if isinstance(p, td.Independent) and isinstance(q, td.Independent):
        if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
            return None
        inner = log_tables(p.base_dist, q.base_dist)
        if inner is None:
            return None
        joint = [_joint(table, p.reinterpreted_batch_ndims) for table in inner]
        return None if joint[0] is None or joint[1] is None else (joint[0], joint[1])
    if not (p.has_enumerate_support and q.has_enumerate_support) or p.event_shape != q.event_shape:
        return None
    first, second = _outcomes(p), _outcomes(q)
    if first is None or second is None or first.shape != second.shape or not bool((first == second).all()):
        return None
    return _table(p, first), _table(q, second)


def _outcomes(p: td.Distribution) -> Tensor | None:
    """The values of p, (k, 1, ..., event), where they are the same in the whole batch."""
    try:
        outcomes: Tensor = p.enumerate_support(expand=False)
    except NotImplementedError:
        return None
    return outcomes


def _table(p: td.Distribution, outcomes: Tensor) -> Tensor:
    if isinstance(p, td.Bernoulli) and _given_as_probabilities(p):
        probability = p.probs.double()
        return _log(torch.stack((1.0 - probability, probability), -1))
    if isinstance(p, td.OneHotCategorical):
        return _table(p._categorical, outcomes)
    if isinstance(p, td.Categorical) and _given_as_probabilities(p):
        return _log(p.probs.double())
    if isinstance(p, td.Categorical):
        return torch.log_softmax(p.logits.double(), -1)
    return p.log_prob(outcomes).double().movedim(0, -1)


def _given_as_probabilities(p: td.Bernoulli | td.Categorical) -> bool:
    """Logits that torch derives from probabilities are cut off at machine epsilon, and would hide a zero."""
    given = p.__dict__.get("probs")
    return given is not None and given.data_ptr() == p._param.data_ptr()


def _log(p: Tensor) -> Tensor:
    return torch.where(p > 0, torch.where(p > 0, p, 1.0).log(), -math.inf)


def _joint(table: Tensor, dims: int) -> Tensor | None:
    """Log-probabilities of tuples: (*batch, *dims, k) to (*batch, k ** n), n the number of independent entries."""
    if dims == 0:
        return table
    k = table.shape[-1]
    parts = table.flatten(-1 - dims, -2).unbind(-2)
    if k ** len(parts) > _LARGEST_TABLE:
        return None
    joint = parts[0]
    for part in parts[1:]:
        joint = (joint.unsqueeze(-1) + part.unsqueeze(-2)).flatten(-2)
    return joint
