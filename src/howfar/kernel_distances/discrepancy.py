"""Maximum mean discrepancy: how differently two samples look to every function of a kernel's space."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from howfar import _checks, ops
from howfar._errors import DomainError, ShapeError, complaint
from howfar.kernel_distances import bandwidths, pairs
from howfar.kernel_distances.bandwidths import Bandwidth, MultiBandwidth
from howfar.kernels import Kernel
from howfar.measure import Measure, measures

ESTIMATORS = ("unbiased", "biased", "linear", "block")


def mmd2(
    x: Any,  # (..., n, d)
    y: Any,  # (..., m, d)
    *,
    a: Any = None,  # (..., n)
    b: Any = None,  # (..., m)
    kernel: str | Kernel | Iterable[Kernel] = "gaussian",
    bandwidth: Bandwidth = "median",
    estimator: str = "unbiased",
    block_size: int | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Tensor:  # (...)
    """Squared maximum mean discrepancy E k(X, X') + E k(Y, Y') - 2 E k(X, Y), in the kernel's unit.

    Gretton, Borgwardt, Rasch, Schoelkopf, Smola, "A kernel two-sample test", JMLR 2012. Differentiable twice
    in points and weights; memory is linear in n + m.

    Args:
        x: points (..., n, d); or a list of clouds (n_b, d) of different sizes, a batch (B,) of them.
        y: points (..., m, d); n and m may differ.
        a: weights (..., n), uniform when left out.
        b: weights (..., m), uniform when left out.
        kernel: a name or an object of `howfar.kernels`, or several objects to be summed.
        bandwidth: for a kernel given by name: a number in the data's unit, several (their kernels are summed),
            a tensor (...) with one per batch element, `"median"` of the pooled distances, or a `MultiBandwidth`.
        estimator: how the three means are taken:
            `"unbiased"`, the U-statistic: pairs of different indices only, so its mean is the true value and it may
            be negative. With weights, which have to be fixed beforehand, the pair (i, j) counts a_i a_j;
            `"biased"`, the V-statistic: all pairs; the exact value for the two weighted clouds themselves, >= 0;
            `"linear"`, the mean over disjoint consecutive pairs, O(n) (section 6 there), unbiased;
            `"block"`, the mean of the U-statistics of disjoint blocks (Zaremba, Gretton, Blaschko, "B-test", 2013).
        block_size: points of the smaller cloud in a block, about sqrt(min(n, m)) when left out. Both clouds are
            cut into as many blocks of equal size; at most one block's worth of points per cloud is left over.
        generator: shuffles the points for `"linear"` and `"block"`, which otherwise take them in the order given.
        backend: "auto", "reference", "cpu" or "triton".

    Raises:
        ShapeError: fewer than two points with an estimator that needs pairs.
        DomainError: weights with `"linear"` or `"block"`, or a bandwidth beside a kernel that has none.

    Example:
        >>> import torch
        >>> from howfar.kernel_distances import mmd2
        >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [3.0]])
        >>> mmd2(x, y, bandwidth=1.0, estimator="biased")
        tensor(0.4944)
    """
    _checks.check_choice(estimator, "estimator", ESTIMATORS)
    _checks.check_generator(generator)
    if block_size is not None and estimator != "block":
        raise DomainError(
            complaint("block_size", f"nothing with estimator={estimator!r}", repr(block_size), "Leave it out.")
        )
    p, q = measures(x, y, a, b)
    pairs.check_scale(p, q, kernel)
    resolved = bandwidths.resolve(kernel, bandwidth, pairs.at_least_float32(p), pairs.at_least_float32(q))
    if estimator == "linear":
        return _linear(p, q, resolved, generator)
    if estimator == "block":
        return _block(p, q, resolved, block_size, generator, backend)
    return pairs.discrepancy(p, q, resolved, unbiased=estimator == "unbiased", backend=backend)


def mmd(
    x: Any,  # (..., n, d)
    y: Any,  # (..., m, d)
    *,
    a: Any = None,  # (..., n)
    b: Any = None,  # (..., m)
    kernel: str | Kernel | Iterable[Kernel] = "gaussian",
    bandwidth: Bandwidth = "median",
    estimator: str = "unbiased",
    block_size: int | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Tensor:  # (...)
    """Maximum mean discrepancy sqrt(max(mmd2, 0)), a metric for characteristic kernels; arguments as in `mmd2`.

    At 0, where the root has no derivative, the gradient is 0, a subgradient there. The unbiased square is negative
    for about half of all pairs of samples of one distribution; the root of the biased one is 0 for equal clouds only.

    Example:
        >>> import torch
        >>> from howfar.kernel_distances import mmd
        >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [3.0]])
        >>> mmd(x, y, bandwidth=1.0, estimator="biased")
        tensor(0.7032)
    """
    square = mmd2(
        x,
        y,
        a=a,
        b=b,
        kernel=kernel,
        bandwidth=bandwidth,
        estimator=estimator,
        block_size=block_size,
        generator=generator,
        backend=backend,
    )
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1).sqrt(), 0)


def witness(
    x: Any,  # (..., n, d)
    y: Any,  # (..., m, d)
    z: Any,  # (..., l, d)
    *,
    a: Any = None,  # (..., n)
    b: Any = None,  # (..., m)
    kernel: str | Kernel | Iterable[Kernel] = "gaussian",
    bandwidth: Bandwidth = "median",
    backend: str = "auto",
) -> Tensor:  # (..., l)
    """Witness function E k(X, z) - E k(Y, z) at points z: positive where x has more mass than y, in the kernel's unit.

    Up to a factor it is the function that tells the two apart best (Gretton et al. 2012, section 2.3): the biased
    `mmd2` is its mean over x minus its mean over y. Bandwidth rules look at x and y, not at z.

    Example:
        >>> import torch
        >>> from howfar.kernel_distances import witness
        >>> x, y = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0])
        >>> witness(x, y, torch.tensor([0.0, 1.0, 3.0]), bandwidth=1.0)
        tensor([ 0.4944,  0.2356, -0.4944])
    """
    p, q = measures(x, y, a, b)
    pairs.check_scale(p, q, kernel)
    points = _checks.check_points(z, "z")
    _checks.check_same_space(p.points, points, "x", "z")
    resolved = bandwidths.resolve(kernel, bandwidth, pairs.at_least_float32(p), pairs.at_least_float32(q))
    dtype = points.dtype
    p, q = pairs.at_least_float32(p), pairs.at_least_float32(q)
    points = points.to(p.points.dtype)
    first, second = (
        ops.kernel_sum(points, side.points, side.weights, kernel=resolved, backend=backend) for side in (p, q)
    )
    return (first - second).to(dtype)


def multi_kernel_mmd(
    source: Any,  # (..., n, d)
    target: Any,  # (..., m, d)
    kernel_mul: float = 2.0,
    kernel_num: int = 5,
    fix_sigma: float | None = None,
) -> Tensor:  # (...)
    """The multi-kernel loss of domain adaptation: `mmd2` with all pairs and `MultiBandwidth(mul, num, base)`.

    With one point on either side the bandwidth grows with their squared distance and cancels it, so the value is the
    same for any two points that differ.

    Example:
        >>> from howfar.kernel_distances import multi_kernel_mmd
        >>> multi_kernel_mmd([[1, 2, 3]], [[1, 1, 2]]), multi_kernel_mmd([[2, 3, 66]], [[1, 5, 6]])
        (tensor(6.1863), tensor(6.1863))
    """
    rule = MultiBandwidth(mul=kernel_mul, num=kernel_num, base=fix_sigma)
    return mmd2(source, target, bandwidth=rule, estimator="biased")


def _linear(p: Measure, q: Measure, kernel: Kernel, generator: torch.Generator | None) -> Tensor:
    x, y = _in_order(p, q, "linear", generator)
    count = min(p.n, q.n) // 2
    if count == 0:
        raise _too_few(p, q, 2, "linear")
    # The pair axis goes in front, where a bandwidth of the batch shape broadcasts over it; each pair is one row.
    (x1, x2), (y1, y2) = (
        [cloud[..., k : 2 * count : 2, :].movedim(-2, 0).unsqueeze(-2) for k in (0, 1)] for cloud in (x, y)
    )
    terms = kernel.matrix(x1, x2) + kernel.matrix(y1, y2) - kernel.matrix(x1, y2) - kernel.matrix(x2, y1)
    return terms.to(pairs.accumulator(terms)).mean(0)[..., 0, 0].to(p.points.dtype)


def _block(
    p: Measure, q: Measure, kernel: Kernel, size: int | None, generator: torch.Generator | None, backend: str
) -> Tensor:
    x, y = _in_order(p, q, "block", generator)
    fewest = min(p.n, q.n)
    size = max(2, math.isqrt(fewest)) if size is None else _checks.check_count(size, "block_size", least=2)
    count = fewest // size
    if count == 0:
        raise _too_few(p, q, size, "block")

    def blocks(cloud: Tensor) -> Measure:
        length = cloud.shape[-2] // count
        cut = cloud[..., : count * length, :].unflatten(-2, (count, length)).movedim(-3, 0)
        return Measure.of(cut)

    each = pairs.discrepancy(blocks(x), blocks(y), kernel, unbiased=True, backend=backend)
    return each.to(pairs.accumulator(each)).mean(0).to(p.points.dtype)


def _in_order(p: Measure, q: Measure, estimator: str, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    for side, name in ((p, "x"), (q, "y")):
        if side.sizes is not None:
            fix = "Pass estimator='unbiased' or 'biased', which take such batches."
            raise DomainError(
                complaint(name, f"clouds of one size with estimator={estimator!r}", f"sizes {side.sizes}", fix)
            )
    for side, name in ((p, "a"), (q, "b")):
        if not side.uniform:
            fix = "Pass estimator='unbiased' or 'biased', which take weights."
            raise DomainError(complaint(name, f"no weights with estimator={estimator!r}", "weights", fix))
    x, y = (pairs.at_least_float32(side).points for side in (p, q))
    if generator is None:
        return x, y
    orders = [torch.randperm(n, generator=generator, device=generator.device).to(x.device) for n in (p.n, q.n)]
    return x[..., orders[0], :], y[..., orders[1], :]


def _too_few(p: Measure, q: Measure, least: int, estimator: str) -> ShapeError:
    name = "x" if p.n <= q.n else "y"
    fix = "Pass a smaller block_size, or estimator='biased'." if estimator == "block" else "Pass estimator='biased'."
    return ShapeError(complaint(name, f"at least {least} points for estimator={estimator!r}", f"{min(p.n, q.n)}", fix))
