"""Bad input: one sentence that names the argument, what came, what was expected, and the fix."""

import math

import pytest
import torch

from howfar import f_divergences as fd
from howfar._errors import DomainError, ShapeError, UnknownName

half = torch.tensor([0.5, 0.5])
normal = torch.distributions.Normal(0.0, 1.0)
BAD = [
    (
        lambda: fd.kl(0.5, half),
        ShapeError,
        "p: expected shape (..., k) with k >= 1, got shape (). Pass one number per class along the last axis.",
    ),
    (
        lambda: fd.kl(half, torch.empty(0)),
        ShapeError,
        "q: expected shape (..., k) with k >= 1, got shape (0,). Pass one number per class along the last axis.",
    ),
    (
        lambda: fd.js(half, torch.ones(3) / 3),
        ShapeError,
        "q: expected shape (..., 2) to match p of shape (2,), got (3,). Pass probabilities over the same classes; a class that one side lacks has probability 0.",
    ),
    (
        lambda: fd.js(half.expand(2, 2), half.expand(3, 2)),
        ShapeError,
        "q: expected batch axes that broadcast with (2,) of p, got (3,). Use equal batch sizes, or 1.",
    ),
    (
        lambda: fd.tv(half, half.double()),
        DomainError,
        "q: expected dtype torch.float32, that of p, got torch.float64. Pass q.to(torch.float32).",
    ),
    (
        lambda: fd.tv(torch.tensor([[0.5, 0.5], [1.25, -0.25]]), half),
        DomainError,
        "p: expected probabilities >= 0, got -0.25 at p[1][1]. Clip the rounding of a subtraction, or pass from_logits=True if p holds logits.",
    ),
    (
        lambda: fd.tv(half, torch.tensor([3.0, 5.0])),
        DomainError,
        "q: expected probabilities that sum to 1 along the last axis, got a sum of 8. Divide by q.sum(-1, keepdim=True), or pass from_logits=True if q holds logits.",
    ),
    (
        lambda: fd.kl(torch.tensor([0.5, math.nan]), half),
        DomainError,
        "p: expected finite numbers, got nan at p[1]. Remove or fill such rows first.",
    ),
    (
        lambda: fd.kl(half, torch.tensor([0.5, math.nan]), from_logits=True),
        DomainError,
        "q: expected logits below infinity, got nan at q[1]. A class of probability zero has the logit -inf.",
    ),
    (
        lambda: fd.kl(half, torch.tensor([math.inf, 0.0]), from_logits=True),
        DomainError,
        "q: expected logits below infinity, got inf at q[0]. A class of probability zero has the logit -inf.",
    ),
    (
        lambda: fd.kl(half, torch.tensor([-math.inf, -math.inf]), from_logits=True),
        DomainError,
        "q: expected some positive probability in each row, got logits that are all -inf. Give some class a finite logit.",
    ),
    (
        lambda: fd.alpha_divergence(half, half, math.nan),
        DomainError,
        "alpha: expected a finite number, got nan. Pass alpha as a finite float.",
    ),
    (
        lambda: fd.renyi(half, half, -0.5),
        DomainError,
        "alpha: expected an order >= 0, infinity included, got -0.5. Its mirror image is alpha / (1 - alpha) * renyi(q, p, 1 - alpha).",
    ),
    (
        lambda: fd.renyi(normal, normal, math.inf),
        DomainError,
        "alpha: expected a finite order > 0 for continuous distributions, got inf. Pass an order between, or tables of probabilities.",
    ),
    (lambda: fd.f_divergence(half, half, "jefreys"), UnknownName, "divergence: expected one of chi2, "),
    (lambda: fd.f_divergence(half, half, torch.exp), UnknownName, "divergence: expected one of chi2, "),
    (
        lambda: fd.kl(normal, half),
        DomainError,
        "q: expected a torch.distributions.Distribution, as p is, got Tensor. Pass two distributions, or two tensors of probabilities.",
    ),
    (
        lambda: fd.f_divergence(normal, normal, "kl", from_logits=True),
        DomainError,
        "from_logits: expected False for distributions, got True. Leave it out; a distribution knows how it was parametrised.",
    ),
    (
        lambda: fd.kl(normal, normal, level=1.0),
        DomainError,
        "level: expected a number in (0, 1), got 1. Pass a coverage such as 0.95.",
    ),
    (
        lambda: fd.kl(normal, normal, n_samples=1),
        DomainError,
        "n_samples: expected an integer >= 2, got 1. Pass a larger n_samples.",
    ),
    (
        lambda: fd.js(normal, torch.distributions.Poisson(1.0)),
        DomainError,
        "q: expected a continuous distribution like p, got a discrete one. They have no density in common.",
    ),
    (
        lambda: fd.js(normal, torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))),
        ShapeError,
        "q: expected event shape (), that of p, got (2,). Wrap batch axes with torch.distributions.Independent, or match the dimensions.",
    ),
    (
        lambda: fd.kl(torch.distributions.Normal(torch.zeros(2), 1.0), torch.distributions.Normal(torch.zeros(3), 1.0)),
        ShapeError,
        "q: expected a batch shape that broadcasts with (2,) of p, got (3,). Use equal batch sizes, or 1.",
    ),
    (
        lambda: fd.histogram(torch.zeros(4, 2), torch.zeros(4, 2)),
        ShapeError,
        "x: expected one feature, shape (n,) or (..., n, 1), got 2 features. Pass one column at a time, x[..., [i]].",
    ),
    (
        lambda: fd.histogram(half, half, bins=0),
        DomainError,
        "bins: expected an integer >= 1, got 0. Pass a larger bins.",
    ),
    (lambda: fd.histogram(half, half, bins="fd"), UnknownName, "bins: expected one of auto, got 'fd'."),
    (
        lambda: fd.histogram(half, half, bins=torch.tensor([0.0, 1.0, 1.0])),
        DomainError,
        "bins: expected edges that increase strictly, got [0.0, 1.0, 1.0]. Sort, drop repeats.",
    ),
    (
        lambda: fd.histogram(half, half, bins=torch.tensor([0.0])),
        ShapeError,
        "bins: expected a count, or edges of shape (k + 1,), got shape (1,). Pass k + 1 increasing numbers for k bins.",
    ),
    (
        lambda: fd.histogram(half, torch.tensor([0.5, 7.0]), bins=torch.tensor([0.0, 1.0])),
        DomainError,
        "y: expected points within the edges of bins, got 1 points outside, such as 7. Put -inf and inf at the ends of bins to catch everything.",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), BAD, ids=range(len(BAD)))
def test_bad_calls(call, kind, message):
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert text.startswith(message) if kind is UnknownName else text == message
