"""The laws of a divergence between probability vectors, for every row of the catalogue."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

import howfar


def simplex(draw, *shape):
    return draw(*shape).softmax(-1)


def test_zero_between_equal_vectors(divergence, draw):
    p = simplex(draw, 6)
    assert_close(divergence(p, p.clone()), p.new_zeros(()), atol=1e-15, rtol=0)


def test_positive_between_different_vectors(divergence, draw):
    assert divergence(simplex(draw, 6), simplex(draw, 6)) > 1e-2


def test_never_negative_near_equality(divergence, draw):
    p = simplex(draw, 50, 6).float()
    q = (p * (1 + 1e-3 * draw(50, 6).float())).abs()
    assert (divergence(p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)) >= 0).all()


def test_symmetry_is_as_declared(divergence, draw):
    p, q = simplex(draw, 6), simplex(draw, 6)
    same = torch.allclose(divergence(p, q), divergence(q, p), rtol=1e-6)
    assert same == divergence.row.symmetric


def test_the_order_of_classes_does_not_matter(divergence, draw):
    p, q = simplex(draw, 6), simplex(draw, 6)
    order = torch.randperm(6)
    assert_close(divergence(p[order], q[order]), divergence(p, q))


def test_merging_classes_never_raises_it(divergence, draw):
    p, q = simplex(draw, 40, 6), simplex(draw, 40, 6)
    merged = [torch.cat([t[:, :4], t[:, 4:].sum(-1, keepdim=True)], -1) for t in (p, q)]
    assert (divergence(*merged) <= divergence(p, q) + 1e-12).all()


def test_a_batch_equals_the_loop(divergence, draw):
    p, q = simplex(draw, 2, 3, 6), simplex(draw, 6)
    together = divergence(p, q)
    assert together.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert_close(together[i, j], divergence(p[i, j], q))


def test_logits_say_the_same(divergence, draw):
    p, q = draw(3, 6), draw(3, 6)
    assert_close(divergence(p, q, from_logits=True), divergence(p.softmax(-1), q.softmax(-1)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(divergence, draw, dtype):
    assert divergence(simplex(draw, 6).to(dtype), simplex(draw, 6).to(dtype)).dtype is dtype


def test_derivatives_are_the_differences(divergence, draw):
    p, q = draw(4).requires_grad_(), draw(4).requires_grad_()

    def value(left, right):
        return divergence(left.softmax(-1), right.softmax(-1))

    assert gradcheck(value, (p, q))
    assert gradgradcheck(value, (p, q))


@pytest.mark.parametrize("zeros", ["p", "q", "both", "disjoint"])
def test_zero_probabilities_give_no_nan(divergence, zeros):
    p = torch.tensor([0.0, 0.5, 0.5] if zeros in ("p", "both", "disjoint") else [0.2, 0.4, 0.4], dtype=torch.float64)
    q = {"p": [0.3, 0.3, 0.4], "q": [0.0, 0.3, 0.7], "both": [0.0, 0.3, 0.7], "disjoint": [1.0, 0.0, 0.0]}[zeros]
    q = torch.tensor(q, dtype=torch.float64)
    p.requires_grad_(), q.requires_grad_()
    value = divergence(p, q)
    value.backward()
    assert not torch.isnan(value)
    assert torch.isfinite(p.grad).all()
    assert torch.isfinite(q.grad).all()


@pytest.mark.parametrize("bad", [[0.5, 0.6], [-0.5, 1.5], [torch.nan, 1.0]])
def test_what_is_no_probability_is_refused(divergence, bad):
    with pytest.raises(howfar.HowfarError, match=r"^p: expected"):
        divergence(torch.tensor(bad), torch.tensor([0.5, 0.5]))
