"""The largest entries of a plan, without the matrix."""

import pytest
import torch

import howfar

D = torch.float64


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_the_largest_entries_of_every_row(batch):
    x, y = torch.randn(*batch, 7, 2, dtype=D), torch.randn(*batch, 5, 2, dtype=D)
    a = torch.rand(*batch, 7, dtype=D) + 0.1
    result = howfar.transport(x, y, a=a / a.sum(-1, keepdim=True), eps=0.3)
    plan = result.plan()
    least = plan.topk(2, -1).values[..., -1:]
    torch.testing.assert_close(result.sparse_plan(2).to_dense(), torch.where(plan >= least, plan, 0))
    torch.testing.assert_close(result.sparse_plan(99).to_dense(), plan)


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_an_exact_plan_is_whole(batch):
    x, y = torch.randn(*batch, 7, 2, dtype=D), torch.randn(*batch, 5, 2, dtype=D)
    result = howfar.transport(x, y)
    sparse = result.sparse_plan(1)
    torch.testing.assert_close(sparse.to_dense(), result.plan())
    assert len(sparse.values()) <= torch.Size(batch).numel() * 11


def test_a_large_plan_stays_sparse():
    x = torch.rand(20_000, 2)
    sparse = howfar.transport(x, x + 0.01, eps=0.1, tol=1e-2).sparse_plan(3)
    assert sparse.is_sparse
    assert len(sparse.values()) == 60_000
    assert sparse.sum() < 1
