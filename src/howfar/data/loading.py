"""`load`: anything that holds a table becomes a `Table`."""

from __future__ import annotations

from typing import Any

from howfar.data.table import Table


def load(source: Any, *, name: str | None = None) -> Table:
    """A `Table` from a file, a DataFrame, an array or a tensor."""
    raise NotImplementedError
