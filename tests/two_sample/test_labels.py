"""Labellings: what may be exchanged, how often, and from which randomness."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from howfar.two_sample import permutations


def columns(labels):
    return [tuple(column) for column in labels.T.tolist()]


def test_observed_comes_first_and_sizes_are_kept():
    labels = permutations(30, 20, 99, torch.Generator().manual_seed(0))
    assert labels.shape == (50, 100)
    assert labels.dtype == torch.bool
    assert labels[:, 0].tolist() == [True] * 30 + [False] * 20
    assert (labels.sum(0) == 30).all()


@pytest.mark.parametrize(("n", "m"), [(4, 4), (2, 5), (1, 9)])
def test_few_labellings_are_all_taken_once(n, m):
    count = math.comb(n + m, n)
    labels = permutations(n, m, count - 1)
    assert len(set(columns(labels))) == labels.shape[1] == count
    assert labels[:n, 0].all()
    assert permutations(n, m, count - 2).shape[1] == count - 1


def test_draws_are_uniform():
    draws = columns(permutations(2, 2, 6000, torch.Generator().manual_seed(1)))
    assert len(draws) == 6, "all of them, when all are asked for"
    labels = permutations(3, 3, 18, torch.Generator().manual_seed(1))
    assert len(set(columns(labels))) > 8
    share = permutations(40, 10, 4000, torch.Generator().manual_seed(2)).double().mean(1)
    assert (share - 0.8).abs().max() < 5 * math.sqrt(0.16 / 4000)


def test_randomness_is_the_generator_alone():
    first = permutations(20, 20, 50, torch.Generator().manual_seed(3))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    second = permutations(20, 20, 50, torch.Generator().manual_seed(3))
    assert torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, permutations(20, 20, 50, torch.Generator().manual_seed(4)))


def test_blocks_move_whole():
    donors_x, donors_y = ["a"] * 5 + ["b"] * 2 + ["c"], ["d"] * 3 + ["e", "f", "g"]
    labels = permutations(8, 6, 999, torch.Generator().manual_seed(5), blocks=(donors_x, donors_y))
    assert labels.shape == (14, math.comb(7, 3))
    for donor in "abcdefg":
        rows = labels[[d == donor for d in donors_x + donors_y]]
        assert (rows == rows[:1]).all()
    assert labels.sum(0).unique().numel() > 1
    pooled = permutations(8, 6, 999, blocks=donors_x + donors_y)
    assert torch.equal(labels, pooled)


def test_strata_keep_their_counts():
    sites = np.array([0, 0, 0, 1, 1, 2, 0, 1, 1, 1, 2])
    every = permutations(6, 5, 10_000, strata=sites)
    assert len(set(columns(every))) == every.shape[1] == math.comb(4, 3) * math.comb(5, 2) * math.comb(2, 1)
    drawn = permutations(60, 50, 200, torch.Generator().manual_seed(6), strata=torch.from_numpy(sites).repeat(10))
    tenfold = np.tile(sites, 10)
    for labels, groups in ((every, sites), (drawn, tenfold)):
        for site in range(3):
            counts = labels[torch.from_numpy(groups == site)].sum(0)
            assert (counts == counts[0]).all()
    assert len(set(columns(drawn))) == 201


def test_blocks_move_within_strata():
    blocks = [0, 0, 1, 2, 3, 3, 4, 5]
    strata = [0, 0, 0, 1, 0, 0, 1, 1]
    labels = permutations(4, 4, 999, blocks=blocks, strata=strata)
    assert labels.shape[1] == math.comb(3, 2) * math.comb(3, 1)
    assert (labels[0] == labels[1]).all()
    assert (labels[4] == labels[5]).all()


def test_one_labelling_is_the_observed_one():
    assert permutations(2, 2, 99, strata=[0, 0, 1, 1]).shape == (4, 1)


BAD = [
    (
        {"blocks": [0, 1, 1, 2]},
        (
            "blocks: expected every block on one side, got the block of pooled row 1 with rows in x and in y. "
            "A block moves as a whole. Pass strata=... to exchange sides within a group instead."
        ),
    ),
    (
        {"blocks": [0, 1, 2]},
        "blocks: expected 4 labels, one per row of x and then of y, got 3. Pass (blocks_of_x, blocks_of_y).",
    ),
    (
        {"strata": ([0], [1, 1])},
        "strata: expected 2 labels for x and 2 for y, got 1 and 2. Pass one label per row.",
    ),
    ({"strata": "abab"}, "strata: expected a sequence of labels, got 'abab'. Pass one label per row."),
    (
        {"blocks": [0, 0, 1, 2], "strata": [0, 1, 1, 1]},
        "strata: expected every block inside one stratum, got a block in several. Pass coarser strata.",
    ),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_groups(options, message):
    with pytest.raises(ValueError) as caught:
        permutations(2, 2, 99, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("bad", [(0, 2, 9), (2, 0, 9), (2, 2, 0)])
def test_counts_are_positive(bad):
    with pytest.raises(ValueError, match=r"expected an integer >= 1, got 0\. Pass a larger"):
        permutations(*bad)
