"""Shared bins."""

import numpy as np
import pytest
import torch

from howfar import f_divergences as fd


def samples(n=400, m=300, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, generator=generator, dtype=torch.float64)
    y = 0.5 + 1.5 * torch.randn(m, generator=generator, dtype=torch.float64)
    return x.to(dtype), y.to(dtype)


@pytest.mark.parametrize("bins", [1, 7, 40])
def test_numpy_counts_the_same(bins):
    x, y = samples()
    p, q, edges = fd.histogram(x, y, bins=bins)
    ends = (min(x.min(), y.min()).item(), max(x.max(), y.max()).item())
    for share, sample in ((p, x), (q, y)):
        counts, expected = np.histogram(sample.numpy(), bins=bins, range=ends)
        np.testing.assert_allclose(edges.numpy(), expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(share.numpy(), counts / len(sample), rtol=1e-12)


def test_automatic_bins_are_those_of_numpy():
    x, y = samples(2000, 2000)
    _, _, edges = fd.histogram(x, y)
    expected = np.histogram_bin_edges(torch.cat((x, y)).numpy(), bins="auto")
    assert abs(len(edges) - len(expected)) <= 1


def test_given_edges_and_infinite_ends():
    x, y = samples()
    edges = torch.tensor([-float("inf"), -1.0, 0.0, 1.0, float("inf")])
    p, q, out = fd.histogram(x, y, bins=edges)
    assert out.shape == (5,)
    assert p.sum().item() == pytest.approx(1)
    assert p[0].item() == pytest.approx((x < -1).double().mean().item())
    assert q[2].item() == pytest.approx(((y >= 0) & (y < 1)).double().mean().item())
    listed = fd.histogram([0.0, 0.5, 1.0], [1.0, 1.0, 2.0], bins=[0.0, 1.0, 2.0])
    assert listed.p.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert listed.q.tolist() == pytest.approx([0.0, 1.0])


def test_weights_are_repetition_and_differentiable():
    x, y = torch.tensor([0.0, 1.0, 3.0]), torch.tensor([1.0, 2.0])
    weights = torch.tensor([0.5, 0.25, 0.25], requires_grad=True)
    weighted = fd.histogram(x, y, bins=3, a=weights)
    repeated = fd.histogram(torch.tensor([0.0, 0.0, 1.0, 3.0]), y, bins=3)
    torch.testing.assert_close(weighted.p.detach(), repeated.p)
    (gradient,) = torch.autograd.grad(weighted.p[0], weights)
    assert gradient.tolist() == [1.0, 0.0, 0.0]


def test_batches_equal_loops():
    pairs = [samples(seed=seed) for seed in range(3)]
    x, y = (torch.stack(side).unsqueeze(-1) for side in zip(*pairs, strict=True))
    p, q, edges = fd.histogram(x, y, bins=9)
    assert p.shape == q.shape == (3, 9)
    assert edges.shape == (3, 10)
    for i, (left, right) in enumerate(pairs):
        alone = fd.histogram(left, right, bins=9)
        torch.testing.assert_close(p[i], alone.p)
        torch.testing.assert_close(edges[i], alone.edges)
    assert fd.histogram(x, y).p.shape[0] == 3
    assert fd.js(p, q).shape == (3,)


@pytest.mark.parametrize("value", [0.0, 5.0, -1e4, 1e-30])
def test_a_constant_column_has_one_crowded_bin(value):
    x = torch.full((5,), value)
    for bins in ("auto", 4):
        p, q, edges = fd.histogram(x, x, bins=bins)
        assert p.max().item() == pytest.approx(1)
        assert bool((edges.diff() > 0).all())
        assert fd.kl(p, q).item() == 0


def test_shifted_columns_in_float32_fall_into_the_same_bins():
    x = torch.arange(64, dtype=torch.float32).repeat(3) / 8
    y = x.flip(0)[:100] * 0.5
    p, q, _ = fd.histogram(x, y, bins=16)
    moved = fd.histogram(x + 8192, y + 8192, bins=16)
    torch.testing.assert_close(moved.p, p)
    torch.testing.assert_close(moved.q, q)


def test_disjoint_samples_are_seen_apart():
    """Bins made for each sample apart would give the same shares, and a distance of zero."""
    x = torch.linspace(0, 1, 50)
    p, q, _ = fd.histogram(x, x + 5, bins=20)
    assert fd.tv(p, q).item() == pytest.approx(1)
