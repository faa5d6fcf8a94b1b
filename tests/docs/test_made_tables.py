"""The tables of README and docs are those that `python -m scripts.pages` makes, and name all that is public."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import howfar
from howfar import catalog
from scripts import pages


@pytest.mark.parametrize("file", pages.FILES, ids=lambda file: file.name)
def test_made_tables_are_up_to_date(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert "<!-- made by" in text
    assert pages.render(text) == text, "run `python -m scripts.pages`"


def test_the_catalogue_of_the_readme_has_every_row() -> None:
    (table,) = re.findall(r"<!-- made by \S+ catalogue -->(.*?)<!-- end", pages.FILES[0].read_text(), re.DOTALL)
    named = set(re.findall(r"^\| `([\w:-]+)` \|", table, re.MULTILINE))
    assert named == {row.name.removeprefix("adversarial:") for row in catalog.rows()}


def test_the_api_page_has_every_public_name() -> None:
    page = (pages.ROOT / "docs/api.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"^\| `([\w.]+)` \| (.*) \|$", page, re.MULTILINE))
    top = {name for name in pages.public_names() if not hasattr(getattr(howfar, name), "__path__")}
    spaces = {name for name in top if type(getattr(howfar, name)).__name__ == "module"}
    packages = {name for name in pages.public_names() if name not in top} | spaces
    expected = (top - spaces) | {
        f"{space}.{member}" for space in packages for member in pages.members(getattr(howfar, space))
    }
    assert set(entries) == expected
    assert all(entries.values()), "every name has a line"
    assert {"transport", "compare", "nn.SinkhornDistance", "adversarial.OBJECTIVES", "costs.Cosine"} <= set(entries)


def test_a_stale_table_is_noticed() -> None:
    text = pages.FILES[0].read_text(encoding="utf-8").replace("| `energy_distance` |", "| `energy` |")
    assert pages.render(text) != text


def test_markdown_shows_what_the_docstring_says() -> None:
    assert pages._text("<P, C> of `f_ij` * E_Q f*(g)") == r"\<P, C> of `f_ij` \* E_Q f\*(g)"
    assert pages.table(["a"], [["|x|"]]) == "| a |\n| --- |\n| \\|x\\| |\n"
