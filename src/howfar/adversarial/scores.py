"""Critic scores: what is accepted as one, and how terms per sample become one loss.

Only shapes, dtypes and devices are checked: a look at the values would make the GPU wait in every step.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, ShapeError, complaint

Reduction = Literal["mean", "sum", "none"]


class Averaging(TypedDict, total=False):
    """How terms per sample become a loss.

    real_weights: (N,) non-negative, of any positive total: "mean" divides by it. Left out: uniform.
    fake_weights: (M,) the same for the fakes.
    reduction: "mean" (the mean over reals plus the mean over fakes), "sum", or "none"
        (the term of real i plus that of fake i, which needs N = M).
    """

    real_weights: Tensor | None
    fake_weights: Tensor | None
    reduction: Reduction


def check_scores(value: Any, name: str) -> Tensor:
    """Scores (N, ...) of one batch, in at least float32."""
    return _widened(_check_batch(value, name))


def _widened(scores: Tensor) -> Tensor:
    return scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores


def _check_batch(value: Any, name: str) -> Tensor:
    scores = _checks.as_tensor(value, name)
    if scores.ndim == 0:
        raise ShapeError(
            complaint(
                name,
                "one score per sample, shape (N,) or (N, ...)",
                "a single number",
                "Pass the critic's output as it is: no .mean() before the loss, and .squeeze(-1), not .squeeze().",
            )
        )
    if scores.numel() == 0:
        raise ShapeError(
            complaint(name, "at least one score", f"shape {tuple(scores.shape)}", "Skip empty batches (drop_last).")
        )
    return scores


def check_score_pair(real: Any, fake: Any, *, paired: bool = False) -> tuple[Tensor, Tensor]:
    """Scores of a real and of a fake batch by one critic: the same trailing axes, dtype and device.

    `paired` losses match real i with fake i, and so need equal batch sizes as well.
    """
    if real is None:
        raise DomainError(
            complaint(
                "real",
                "the critic's scores of a real batch",
                "None",
                "A relativistic loss compares fakes with reals in the generator's step too: pass real=critic(x).",
            )
        )
    x, y = _check_batch(real, "real"), _check_batch(fake, "fake")
    _checks.check_same_kind(x, y, "real", "fake")
    if x.shape[1:] != y.shape[1:]:
        raise ShapeError(
            complaint(
                "fake",
                f"shape {('N', *x.shape[1:])} to match real of shape {tuple(x.shape)}".replace("'", ""),
                f"{tuple(y.shape)}",
                "Score both batches with the same critic; (N, 1) against (N,) would broadcast to (N, N).",
            )
        )
    if paired and x.shape != y.shape:
        raise ShapeError(
            complaint(
                "fake",
                f"{x.shape[0]} scores, as many as real has",
                f"{y.shape[0]}",
                "A paired loss needs equal batches: draw as many fakes as reals.",
            )
        )
    return _widened(x), _widened(y)


def mean_score(terms: Tensor, weights: Tensor | None, name: str) -> Tensor:
    """The mean of terms (N, ...) over all axes, samples weighted."""
    if weights is None:
        return terms.mean()
    w = _check_weights(weights, terms, name)
    per_sample = terms.reshape(terms.shape[0], -1).mean(1)
    return (w * per_sample).sum() / w.sum()


def _reduce(terms: Tensor, name: str, weights: Tensor | None, reduction: str) -> Tensor:
    """Terms (N, ...) of one batch: their mean, their sum, or themselves."""
    _checks.check_choice(reduction, "reduction", ("mean", "sum", "none"))
    if reduction == "mean":
        return mean_score(terms, weights, name)
    if weights is not None:
        w = _check_weights(weights, terms, name)
        terms = terms * w.reshape(-1, *[1] * (terms.ndim - 1))
    return terms.sum() if reduction == "sum" else terms


def reduce_fakes(
    terms: Tensor,
    real_weights: Tensor | None = None,  # noqa: ARG001
    fake_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Terms of fakes alone; takes the weights of the reals too, so that every objective takes the same options."""
    return _reduce(terms, "fake_weights", fake_weights, reduction)


def reduce_two(
    real_terms: Tensor,
    fake_terms: Tensor,
    real_weights: Tensor | None = None,
    fake_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Terms of the reals plus terms of the fakes, each reduced over its own batch."""
    if reduction == "none" and real_terms.shape != fake_terms.shape:
        raise ShapeError(
            complaint(
                "reduction",
                '"mean" or "sum" for batches of unequal size',
                f'"none" with {real_terms.shape[0]} real and {fake_terms.shape[0]} fake scores',
                "Draw as many fakes as reals, or reduce.",
            )
        )
    return _reduce(real_terms, "real_weights", real_weights, reduction) + _reduce(
        fake_terms, "fake_weights", fake_weights, reduction
    )


def reduce_pairs(
    terms: Tensor,
    real_weights: Tensor | None = None,
    fake_weights: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Terms of pairs (real i, fake i); the weight of a pair is the product of its two weights."""
    pair_weights = None
    for weights, name in ((real_weights, "real_weights"), (fake_weights, "fake_weights")):
        if weights is not None:
            w = _check_weights(weights, terms, name)
            pair_weights = w if pair_weights is None else pair_weights * w
    return _reduce(terms, "real_weights and fake_weights", pair_weights, reduction)


def _check_weights(value: Any, terms: Tensor, name: str) -> Tensor:
    weights = _checks.as_tensor(value, name).to(device=terms.device, dtype=terms.dtype)
    if weights.shape != terms.shape[:1]:
        raise ShapeError(
            complaint(
                name,
                f"shape ({terms.shape[0]},), one weight per sample",
                f"{tuple(weights.shape)}",
                "Pass one weight per sample, or leave it out for uniform weights.",
            )
        )
    _checks.check_distribution(weights, name, normalised=False)
    return weights
