"""Two paired tables as two clouds of points in one space, for distances over all columns at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from howfar.data.pairing import PairedTables
from howfar.data.table import Kind
from howfar.measure import Measure


@dataclass(frozen=True)
class Group:
    """Which features of the encoded space belong to one column: `start <= feature < stop`.

    Attributes:
        name, kind: of the column.
        start, stop: its features in the encoded matrix.
        features: one label per feature ("age", "age is missing", "colour = red"), of length stop - start.
    """

    name: str
    kind: Kind
    start: int
    stop: int
    features: tuple[str, ...]

    @property
    def slice(self) -> slice:
        """For indexing: `points[..., group.slice]`."""
        return slice(self.start, self.stop)


class Encoded(NamedTuple):
    """Two measures on one space, and which features belong to which column."""

    reference: Measure
    current: Measure
    groups: tuple[Group, ...]


def encode(pair: PairedTables, *, dtype: torch.dtype = torch.float64) -> Encoded:
    """Two paired tables as two clouds of points in one space."""
    raise NotImplementedError
