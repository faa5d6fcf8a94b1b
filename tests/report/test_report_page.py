"""The page says what the document says, holds nothing that runs, and shows hostile text as text."""

from __future__ import annotations

import copy
import json
import re
import time
from html.parser import HTMLParser

import pytest

from howfar import report
from howfar._errors import DataError
from howfar.report import wording

VOID = {"meta", "input", "path", "wbr"}
TAGS = """
    html head meta title style body main header section article h1 h2 h3 p span small strong bdi wbr dl dt dd div ul li
    table thead tbody tr th td details summary figure figcaption svg path rect code label input
"""


class Page(HTMLParser):
    """Tags, attributes and texts of a page, and whether every tag was closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.comments: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts[-1] += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def with_class(self, name: str) -> list[dict[str, str | None]]:
        return [attrs for _, attrs in self.tags if name in (attrs.get("class") or "").split()]


@pytest.mark.parametrize("sample", ["wine", "alike", "wide", "evil", "bare"])
def test_page_is_well_formed_and_holds_nothing_that_runs_or_loads(samples, sample):
    text = report.render(samples[sample])
    text.encode("utf-8")
    page = Page(text)
    assert page.open == []
    assert page.comments == []
    assert {tag for tag, _ in page.tags} <= set(TAGS.split())
    names = {name for _, attrs in page.tags for name in attrs}
    assert not {name for name in names if name.startswith("on")}
    assert not names & {"src", "href", "srcset", "action", "xlink:href", "data", "poster", "http-equiv"} - {
        "http-equiv"
    }
    styles = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    assert len(styles) == 1
    assert "url(" not in styles[0]
    assert "@import" not in styles[0]


def test_policy_forbids_scripts_and_loads(wine):
    policies = [attrs["content"] for tag, attrs in Page(report.render(wine)).tags if "http-equiv" in attrs]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_hostile_text_is_shown_as_it_stands(evil):
    page = Page(report.render(evil))
    shown = {text.strip() for text in page.texts}
    for text in evil["only_in_reference"][:9]:
        assert wording.name(wording.clean(text)).strip() in shown, text
    assert "(blank)" in shown
    assert "nul\N{REPLACEMENT CHARACTER}bell\N{REPLACEMENT CHARACTER}" in shown
    assert "right\N{REPLACEMENT CHARACTER}to left" in shown
    headline = next(text for text in page.texts if text.startswith("<script>") and "<!-- swallowed" in text)
    assert headline == evil["verdict"]["sentence"]


def test_document_is_left_alone_and_gives_one_page(evil):
    before = copy.deepcopy(evil)
    assert report.render(evil) == report.render(evil)
    assert evil == before


def test_document_read_back_from_json_gives_the_same_page(wine):
    assert report.render(json.loads(json.dumps(wine))) == report.render(wine)


def test_page_says_what_the_document_says(wine):
    page = Page(report.render(wine))
    shown = [text.strip() for text in page.texts if text.strip()]
    assert wine["verdict"]["sentence"] in shown
    for expected in (
        "≠",
        "Energy distance",
        "3.412",
        "robust standard units",
        "0.001",
        "a size, not a test",
        "demo/wine_0.csv",
    ):
        assert expected in " ".join(shown)
    assert "not tested" not in " ".join(shown)
    assert any("vintage" in text for text in shown)
    assert {"cellar", "shelf"} <= set(shown)
    assert any("every value is unique text" in text for text in shown)
    assert any("9 of 71 dates" in text for text in shown)
    assert any(text.startswith("Missing values changed in") for text in shown)
    assert len(page.with_class("card")) == len(wine["columns"])
    n_moved = sum(column["different"] or column["missing"]["different"] for column in wine["columns"])
    assert f"{n_moved} of {len(wine['columns'])}" in shown
    bars = page.with_class("effect")
    assert [("is-different" in bar["class"].split()) for bar in bars] == [
        column["different"] for column in wine["columns"]
    ]
    assert [bar["style"] for bar in bars] == [f"inline-size:{100 * c['effect']:.1f}%" for c in wine["columns"]]


def test_alike_and_different_are_told_apart_by_words_not_colour_alone(wine, alike):
    assert "<title>Different: " in report.render(wine)
    assert "<title>No difference found: " in report.render(alike)
    assert "Different</p>" not in report.render(alike)


def test_pictures_have_words_for_those_who_do_not_see_them(wine):
    pictures = [attrs for tag, attrs in Page(report.render(wine)).tags if tag == "svg"]
    assert pictures
    for attrs in pictures:
        assert attrs["role"] == "img"
        assert len(attrs["aria-label"]) > 20


def test_wide_tables_stay_quick_and_small(wide):
    started = time.perf_counter()
    text = report.render(wide)
    assert time.perf_counter() - started < 5
    assert len(text.encode()) < 2_000_000
    folded = re.findall(r"<summary>(Show [^<]*)</summary>", text)
    assert "Show all 500 columns" in folded
    assert "Show 476 more columns" in folded
    assert text.count('<article class="card">') == 500
    assert text.index("Show 476 more columns") > [m.start() for m in re.finditer("<article", text)][23]


def test_column_that_one_side_leaves_empty(wine):
    column = wine["columns"][0]
    nothing = dict.fromkeys(column["reference"]) | {"count": 0}
    column |= {
        "effect": None,
        "p_value": None,
        "p_adjusted": None,
        "different": False,
        "histogram": None,
        "current": nothing,
    }
    shown = " ".join(Page(report.render(wine)).texts)
    assert "No values to draw." in shown
    assert "\N{EM DASH}" in shown


@pytest.mark.parametrize("document", [{}, {"format": "other"}, {"format": "howfar.comparison", "format_version": 2}])
def test_other_documents_are_refused(document):
    with pytest.raises(DataError, match=r"^document: expected the document of a comparison .* got format"):
        report.render(document)
