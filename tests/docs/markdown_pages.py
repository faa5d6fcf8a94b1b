"""The pages a reader sees, cut into what can be checked: code blocks, links, headings."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
_PARSER = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """A fenced block: what its fence says, its text, and the line of the page at which the text starts."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for token in _PARSER.parse(page.read_text(encoding="utf-8")):
        if token.type == "fence" and token.map is not None:
            yield Block(token.info.strip(), token.content, token.map[0] + 1)


def links(page: Path) -> Iterator[str]:
    """The targets of the links and pictures of a page."""
    for token in _PARSER.parse(page.read_text(encoding="utf-8")):
        for child in token.children or ():
            target = child.attrs.get("href") or child.attrs.get("src")
            if target is not None:
                yield str(target)


def anchors(page: Path) -> set[str]:
    """The fragments that the headings of a page answer to, by the rule of code hosts."""
    tokens = _PARSER.parse(page.read_text(encoding="utf-8"))
    titles = [after.content for token, after in itertools.pairwise(tokens) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
