"""Transportation on a sparse set of arcs: the compiled network simplex behind a small class."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from howfar import _native
from howfar._progress import Progress

_SECONDS_A_CALL = 0.1
"""So that an interrupt is answered."""


class NetworkSimplex:
    """Supplies a (n) to demands b (m) along arcs that may be added while it runs.

    Use as a context manager. Mass is integer; costs and duals are float64.

    Args:
        a: int64 (n), non-negative.
        b: int64 (m), non-negative, with the sum of a.
        big: cost of the artificial path that every source has to every sink; above every cost.
    """

    def __init__(self, a: Tensor, b: Tensor, big: float) -> None:
        """Reserve the nodes."""
        self._library = _native.library()
        self._n, self._m = len(a), len(b)
        a, b = a.contiguous(), b.contiguous()
        self._flow = self._library.howfar_flow_new(self._n, self._m, a.data_ptr(), b.data_ptr(), big)
        if not self._flow:
            raise MemoryError

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the memory back."""
        self._library.howfar_flow_free(self._flow)

    def add(self, i: Tensor, j: Tensor, cost: Tensor) -> None:
        """Arcs i (K,) -> j (K,) with costs (K,)."""
        i, j, cost = i.int().contiguous(), j.int().contiguous(), cost.double().contiguous()
        if self._library.howfar_flow_add(self._flow, len(i), i.data_ptr(), j.data_ptr(), cost.data_ptr()):
            raise MemoryError

    def start(self, key: Tensor) -> None:
        """The first basis: greedily along the arcs in rising order of key (K,). Once, before `solve`."""
        key = key.double().contiguous()
        if self._library.howfar_flow_start(self._flow, key.data_ptr()):
            raise MemoryError

    def solve(self, tolerance: float, progress: Progress) -> None:
        """Pivots until no arc prices below -tolerance times the largest dual."""
        while not self._library.howfar_flow_solve(self._flow, _SECONDS_A_CALL, tolerance):
            progress("network simplex")

    def raise_artificial(self, big: float) -> None:
        """Another cost of the artificial path."""
        self._library.howfar_flow_raise(self._flow, big)

    def artificial(self) -> int:
        """Mass that still takes the artificial path."""
        return int(self._library.howfar_flow_artificial(self._flow))

    def duals(self) -> tuple[Tensor, Tensor]:
        """f (n), g (m) with f_i + g_j <= cost_ij on every arc."""
        f, g = torch.empty(self._n, dtype=torch.float64), torch.empty(self._m, dtype=torch.float64)
        self._library.howfar_flow_duals(self._flow, f.data_ptr(), g.data_ptr())
        return f, g

    def entries(self) -> tuple[Tensor, Tensor, Tensor]:
        """(i, j, mass) of the arcs that carry mass, int64 each, at most n + m - 1."""
        count = int(self._library.howfar_flow_read(self._flow, None, None, None))
        i, j = torch.empty(count, dtype=torch.int32), torch.empty(count, dtype=torch.int32)
        mass = torch.empty(count, dtype=torch.int64)
        self._library.howfar_flow_read(self._flow, i.data_ptr(), j.data_ptr(), mass.data_ptr())
        return i.long(), j.long(), mass
