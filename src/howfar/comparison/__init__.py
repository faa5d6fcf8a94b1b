"""Two tables -> what differs, how much, how sure, where."""

from __future__ import annotations

from howfar.comparison.procedure import compare as compare
from howfar.comparison.records import ColumnComparison as ColumnComparison
from howfar.comparison.records import Distance as Distance
from howfar.comparison.records import Locations as Locations
from howfar.comparison.records import Side as Side
from howfar.comparison.records import Verdict as Verdict
from howfar.comparison.result import Comparison as Comparison

__all__ = ["ColumnComparison", "Comparison", "Distance", "Locations", "Side", "Verdict", "compare"]
