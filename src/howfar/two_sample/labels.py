"""Labellings: which pooled rows are called x. The first is what was observed, the others are as likely under the null.

A unit is what changes sides as a whole: a row, or a block of rows that are not independent of each other.
Strata are groups inside which sides may be exchanged, and between which they may not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from howfar import _checks
from howfar._errors import DomainError, ShapeError, complaint

_KEYS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Exchange:
    """What may be exchanged for what under the null hypothesis.

    Attributes:
        unit_of_row: (N,) the unit of each pooled row.
        is_x: (U,) whether a unit was observed on the side of x.
        strata: for each stratum, the units in it.
    """

    unit_of_row: Tensor
    is_x: Tensor
    strata: tuple[Tensor, ...]

    @classmethod
    def of(cls, n: int, m: int, blocks: Any = None, strata: Any = None) -> Exchange:
        """From the sizes of x and y and one label per pooled row, rows of x first."""
        side = torch.arange(n + m) < n
        unit_of_row = torch.arange(n + m) if blocks is None else _codes(blocks, "blocks", n, m)
        n_units = int(unit_of_row.max()) + 1
        is_x = torch.zeros(n_units, dtype=torch.bool)
        is_x[unit_of_row] = side
        if bool((is_x[unit_of_row] != side).any()):
            row = int(torch.nonzero(is_x[unit_of_row] != side)[0])
            raise DomainError(
                complaint(
                    "blocks",
                    "every block on one side",
                    f"the block of pooled row {row} with rows in x and in y",
                    "A block moves as a whole. Pass strata=... to exchange sides within a group instead.",
                )
            )
        if strata is None:
            return cls(unit_of_row, is_x, (torch.arange(n_units),))
        codes = _codes(strata, "strata", n, m)
        stratum = torch.zeros(n_units, dtype=torch.long)
        stratum[unit_of_row] = codes
        if bool((stratum[unit_of_row] != codes).any()):
            raise DomainError(
                complaint("strata", "every block inside one stratum", "a block in several", "Pass coarser strata.")
            )
        return cls(unit_of_row, is_x, tuple(torch.nonzero(stratum == k)[:, 0] for k in range(int(codes.max()) + 1)))

    def count(self) -> int:
        """How many different labellings there are, the observed one included."""
        return math.prod(math.comb(len(units), int(self.is_x[units].sum())) for units in self.strata)

    def rows(self, units: Tensor) -> Tensor:
        """Labels of units (U, B) to labels of rows (N, B)."""
        return units[self.unit_of_row]

    def every(self) -> Tensor:
        """All labellings of units (U, count), the observed one first."""
        columns = [self.is_x]
        for chosen in itertools.product(*(self._choices(units) for units in self.strata)):
            column = torch.zeros_like(self.is_x)
            column[torch.cat(chosen)] = True
            if not torch.equal(column, self.is_x):
                columns.append(column)
        return torch.stack(columns, 1)

    def draw(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Labellings of units (U, 1 + count): the observed one, then independent uniform draws."""
        device = None if generator is None else generator.device
        out = torch.zeros(1 + count, len(self.is_x), dtype=torch.bool)
        out[0] = self.is_x
        if len(self.strata) == 1:
            n_x = int(self.is_x.sum())
            for row in out[1:]:
                row[torch.randperm(len(row), generator=generator, device=device)[:n_x].cpu()] = True
            return out.T.contiguous()
        order = torch.cat(self.strata)
        level = torch.repeat_interleave(torch.tensor([len(units) for units in self.strata]))
        pattern = self.is_x[order]
        step = max(1, _KEYS_AT_ONCE // len(order))
        for rows in out[1:].split(step):
            keys = torch.rand(rows.shape, generator=generator, device=device, dtype=torch.float64).cpu()
            # Sorted by stratum first: the keys shuffle the pattern of each stratum within its own places.
            rows[:, order] = pattern[(level + keys).argsort(1)]
        return out.T.contiguous()

    def _choices(self, units: Tensor) -> Iterator[Tensor]:
        n_x = int(self.is_x[units].sum())
        for chosen in itertools.combinations(range(len(units)), n_x):
            yield units[list(chosen)]


def permutations(
    n: int,
    m: int,
    n_permutations: int,
    generator: torch.Generator | None = None,
    *,
    blocks: Any = None,
    strata: Any = None,
) -> Tensor:  # (n + m, 1 + B) bool
    """Labellings of the pooled rows, rows of x first: True where a row is called x. Column 0 is the observed one.

    B is `n_permutations`, and each further column an independent uniform draw; or fewer when there are no more than
    1 + `n_permutations` different labellings: then every one of them, once.

    Args:
        n: rows of x.
        m: rows of y.
        n_permutations: labellings beside the observed one.
        generator: source of randomness; torch's own when left out.
        blocks: (n + m) labels of any kind, or the pair of those of x and of y. Rows of one block move together, as
            the cells of a donor or the hours of a day must, so a block lies in x or in y. Sizes of x and y then vary.
        strata: the same, for groups within which labels are exchanged: each keeps its number of x rows.
            With both, blocks move whole within their stratum.

    Returns:
        A bool tensor (n + m, 1 + B) on the CPU.

    Example:
        >>> from howfar.two_sample import permutations
        >>> permutations(1, 2, 99).int()
        tensor([[1, 0, 0],
                [0, 1, 0],
                [0, 0, 1]], dtype=torch.int32)
    """
    return labellings(n, m, n_permutations, generator, blocks=blocks, strata=strata)[0]


def labellings(
    n: int,
    m: int,
    n_permutations: int,
    generator: torch.Generator | None = None,
    *,
    blocks: Any = None,
    strata: Any = None,
) -> tuple[Tensor, bool]:
    """`permutations`, and whether these are all labellings there are."""
    n, m = _checks.check_count(n, "n"), _checks.check_count(m, "m")
    n_permutations = _checks.check_count(n_permutations, "n_permutations")
    exchange = Exchange.of(n, m, blocks, strata)
    few = exchange.count() <= n_permutations + 1
    units = exchange.every() if few else exchange.draw(n_permutations, generator)
    return (units if blocks is None else exchange.rows(units)), few


def _codes(labels: Any, name: str, n: int, m: int) -> Tensor:
    pooled = _flat(labels, name, n, m)
    if len(pooled) != n + m:
        raise ShapeError(
            complaint(
                name,
                f"{n + m} labels, one per row of x and then of y",
                f"{len(pooled)}",
                f"Pass ({name}_of_x, {name}_of_y).",
            )
        )
    numbers: dict[Any, int] = {}
    return torch.tensor([numbers.setdefault(label, len(numbers)) for label in pooled])


def _flat(labels: Any, name: str, n: int, m: int) -> list[Any]:
    if isinstance(labels, tuple) and len(labels) == 2 and not _is_label(labels[0]):
        first, second = (_items(part, name) for part in labels)
        if (len(first), len(second)) != (n, m):
            raise ShapeError(
                complaint(
                    name,
                    f"{n} labels for x and {m} for y",
                    f"{len(first)} and {len(second)}",
                    "Pass one label per row.",
                )
            )
        return first + second
    return _items(labels, name)


def _is_label(value: Any) -> bool:
    return isinstance(value, str | bytes) or not hasattr(value, "__len__")


def _items(labels: Any, name: str) -> list[Any]:
    if hasattr(labels, "tolist"):
        labels = labels.tolist()
    if not isinstance(labels, Sequence) or isinstance(labels, str | bytes):
        raise DomainError(complaint(name, "a sequence of labels", repr(labels), "Pass one label per row."))
    return list(labels)
