"""Links of the pages lead somewhere; pictures exist and are small; nothing names a package registry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_pages import PAGES, ROOT, anchors, links

TEXTS = (*PAGES, ROOT / "DESIGN.md", ROOT / "CHANGELOG.md")


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith("https://"):
            continue
        target, _, fragment = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.is_relative_to(ROOT), link
        assert file.is_file(), link
        assert not fragment or fragment in anchors(file), link


def test_every_page_of_the_docs_can_be_reached_from_the_index() -> None:
    index = ROOT / "docs/index.md"
    assert {link for link in links(index) if "/" not in link} == {
        page.name for page in PAGES if page.parent == index.parent and page != index
    }


def test_every_page_of_the_docs_is_in_the_contents_of_the_built_site() -> None:
    contents = (ROOT / "docs/contents.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^   (\w+)$", contents, re.MULTILINE)
    assert sorted(listed) == sorted(page.stem for page in PAGES if page.parent.name == "docs")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    """Paths in backticks, such as those of the recipes."""
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:src|tests|docs|scripts|native)/[\w./]*)`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_registry_is_named(page: Path) -> None:
    assert not re.search(r"pypi\.|download\.pytorch|index-url|conda\.", page.read_text(encoding="utf-8"))


def test_every_picture_is_shown_and_has_words_for_those_who_do_not_see_it() -> None:
    shown = {}
    for page in PAGES:
        for words, path in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            shown[(page.parent / path).resolve()] = words
    assert set(shown) == set((ROOT / "docs/images").iterdir())
    assert all(len(words) > 40 for words in shown.values())
