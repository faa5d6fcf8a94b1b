"""What holds for every pair of distributions."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from howfar import f_divergences as fd

ROWS = {**fd.GENERATORS, "alpha(-0.7)": fd.alpha(-0.7), "alpha(0.4)": fd.alpha(0.4), "alpha(3)": fd.alpha(3.0)}
ROWS["weighted_js"] = fd.weighted_js(0.15)
SYMMETRIC = {"js", "tv", "hellinger", "jeffreys", "triangular", "gan", "fgan_js", "fgan_hellinger"}
each_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
masses = st.one_of(st.just(0.0), st.floats(1e-9, 1.0), st.floats(0.1, 1.0))


def distribution(values):
    p = torch.tensor(values, dtype=torch.float64)
    return p / p.sum(-1, keepdim=True)


def distributions(count):
    one = st.integers(2, 7).flatmap(
        lambda k: st.lists(st.lists(masses, min_size=k, max_size=k).filter(any), min_size=count, max_size=count)
    )
    return one.map(lambda lists: [distribution(values) for values in lists])


def at_most(left, right):
    return bool((left <= right + 1e-12 + 1e-11 * right.abs()).all())


@each_row
@settings(max_examples=15, deadline=None)
@given(sides=distributions(2))
def test_non_negative_bounded_and_zero_on_equals(row, sides):
    p, q = sides
    excess = fd.f_divergence(p, q, row) - row.at_one
    assert excess >= -1e-15
    assert at_most(excess, torch.tensor(row.supremum - row.at_one, dtype=torch.float64))
    assert fd.f_divergence(p, p, row) == row.at_one
    if (p - q).abs().max() > 1e-3:
        assert excess > 1e-8


@pytest.mark.parametrize("name", sorted(SYMMETRIC))
@settings(max_examples=15, deadline=None)
@given(sides=distributions(2))
def test_symmetric_where_declared(name, sides):
    p, q = sides
    assert torch.equal(fd.f_divergence(p, q, name), fd.f_divergence(q, p, name))


@each_row
@settings(max_examples=15, deadline=None)
@given(sides=distributions(2), data=st.data())
def test_merging_classes_loses_divergence(row, sides, data):
    p, q = sides
    k = len(p)
    labels = torch.tensor(data.draw(st.lists(st.integers(0, k - 2), min_size=k, max_size=k)))
    merged = [torch.zeros(k, dtype=torch.float64).index_add(0, labels, side) for side in (p, q)]
    assert at_most(fd.f_divergence(*merged, row), fd.f_divergence(p, q, row))


@each_row
@settings(max_examples=15, deadline=None)
@given(sides=distributions(4), weight=st.floats(0.0, 1.0))
def test_jointly_convex(row, sides, weight):
    p, q, r, s = sides
    mixed = fd.f_divergence(weight * p + (1 - weight) * r, weight * q + (1 - weight) * s, row)
    parts = torch.stack((fd.f_divergence(p, q, row), fd.f_divergence(r, s, row)))
    mean = sum(w * part for w, part in zip((weight, 1 - weight), parts, strict=True) if w > 0)
    assert at_most(mixed, mean)


@each_row
@settings(max_examples=15, deadline=None)
@given(sides=distributions(2), data=st.data())
def test_order_of_classes_does_not_matter(row, sides, data):
    p, q = sides
    order = data.draw(st.permutations(range(len(p))))
    torch.testing.assert_close(
        fd.f_divergence(p[order], q[order], row), fd.f_divergence(p, q, row), rtol=1e-13, atol=1e-15
    )


@each_row
@settings(max_examples=15, deadline=None)
@given(sides=distributions(2))
def test_logits_equal_probabilities(row, sides):
    p, q = sides
    logits = fd.f_divergence(p.log(), q.log(), row, from_logits=True)
    torch.testing.assert_close(logits, fd.f_divergence(p, q, row), rtol=1e-10, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(sides=distributions(2))
def test_divergences_of_independent_pairs_add(sides):
    """KL and Rényi of products are sums; one minus the squared Hellinger distance multiplies."""
    p, q = sides
    pp, qq = torch.outer(p, p).flatten(), torch.outer(q, q).flatten()
    torch.testing.assert_close(fd.kl(pp, qq), 2 * fd.kl(p, q), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(fd.renyi(pp, qq, 0.7), 2 * fd.renyi(p, q, 0.7), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(1 - fd.hellinger(pp, qq), (1 - fd.hellinger(p, q)) ** 2, rtol=1e-10, atol=1e-12)
