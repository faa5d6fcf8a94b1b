"""Files and DataFrames -> Table -> two Measures in one space."""

from __future__ import annotations

from howfar.data.encoding import Encoded as Encoded
from howfar.data.encoding import Group as Group
from howfar.data.encoding import encode as encode
from howfar.data.loading import load as load
from howfar.data.pairing import Conflict as Conflict
from howfar.data.pairing import PairedColumn as PairedColumn
from howfar.data.pairing import PairedTables as PairedTables
from howfar.data.pairing import pair as pair
from howfar.data.table import Column as Column
from howfar.data.table import Ignored as Ignored
from howfar.data.table import Kind as Kind
from howfar.data.table import Table as Table

__all__ = [
    "Column",
    "Conflict",
    "Encoded",
    "Group",
    "Ignored",
    "Kind",
    "PairedColumn",
    "PairedTables",
    "Table",
    "encode",
    "load",
    "pair",
]
