"""One reader per file format, and the table from extension to reader."""

from __future__ import annotations
