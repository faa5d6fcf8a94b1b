"""A result tells how it was solved, and why so."""

from __future__ import annotations

import pytest
import torch

import howfar
from howfar import _native
from howfar.optimal_transport import coarse, exact

NATIVE = pytest.mark.skipif(_native.why_unavailable() is not None, reason="no compiled library here")
IN_CACHE = pytest.mark.skipif(_native.why_no_kernels() is not None, reason="no compiled kernels here")


def clouds(n: int = 30, m: int = 20, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    x, y = (torch.rand(k, 2, generator=generator, dtype=dtype) for k in (n, m))
    return x, y


@NATIVE
def test_exact_transport(monkeypatch):
    x, y = clouds()
    assert howfar.transport(x, y).method == "network simplex on all pairs, as they are few"
    monkeypatch.setattr(exact, "_ALL_ARCS", 0)
    assert howfar.transport(x, y).method.startswith("network simplex on a shortlist of pairs, and pricing of all")
    assert howfar.transport(x, y, accuracy=1e-15).method.startswith("network simplex")


def test_exact_transport_without_the_compiled_library(monkeypatch):
    pytest.importorskip("ot")
    monkeypatch.setattr(_native, "why_unavailable", lambda: "it was not built")
    method = howfar.transport(*clouds()).method
    assert method == "POT's network simplex on the matrix, as the compiled one is not here: it was not built"


@IN_CACHE
def test_entropic_transport_in_cache():
    x, y = clouds()
    assert howfar.transport(x, y, eps=0.5).method == "alternation in cache, where it fits"
    slow = howfar.transport(x, y, eps=1e-3, max_iter=400)
    assert slow.method == "alternation in cache, then accelerated, as it converges slowly"
    assert howfar.transport(x, y, eps=0.5, init=slow).method == "alternation in cache, where it fits; started from init"
    single = howfar.transport(*clouds(dtype=torch.float32), eps=2e-4)
    assert single.method.endswith("; in float64, as float32 would show in the marginals")
    assert single.value.dtype == torch.float32


def test_entropic_transport_beyond_cache(monkeypatch):
    x, y = clouds(300, 280)
    monkeypatch.setattr(coarse, "_MANY_PAIRS", 2**16)
    r = howfar.transport(x, y, eps=0.1, reach=(0.5, None))
    wanted = "accelerated alternation, as it does not run whole in cache; started on coarse clouds, as these are large"
    assert r.method == wanted
    assert "method='accelerated alternation" in repr(r)
