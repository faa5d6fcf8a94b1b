"""The commands that ask howfar about itself: list, doctor."""

from __future__ import annotations

import json

from howfar.cli import printing


def catalogue(*, as_json: bool) -> None:
    """Every distance of the catalogue."""
    from howfar import catalog

    fields = ("name", "family", "inputs", "unit", "summary")
    rows = [tuple(str(getattr(row, field)) for field in fields) for row in catalog.rows()]
    if as_json:
        printing.out(json.dumps([dict(zip(fields, row, strict=True)) for row in rows], indent=2))
    else:
        printing.table(fields, rows)


def doctor(*, as_json: bool) -> None:
    """What this installation can do."""
    from howfar import doctor as installation

    found = installation.report()
    if as_json:
        printing.out(json.dumps(found, indent=2))
        return
    for number, (section, items) in enumerate(found.items()):
        if number:
            printing.out()
        printing.table((section, ""), items.items())
