"""Reports of studies as pages: a strict reader, and the checks that hold for every report."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from testing import studies
from trainer import report
from trainer.evaluation.results import ImageRecord, StudyResults

_VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """A strict reader of one page: it fails where an element is not closed in order or a link leads elsewhere.

    Attributes:
        open: Elements that are not closed yet.
        ids: All ids.
        links: All addresses.
        titles: Texts of the headings.
        tables: Cells of each table by its caption.
        text: All text.
    """

    def __init__(self) -> None:
        """Start with an empty page."""
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.titles: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.text: list[str] = []
        self._table: list[list[str]] = []
        self._caption = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that opens."""
        if tag not in _VOID:
            self.open.append(tag)
        self._attributes(tag, dict(attrs))
        if tag == "table":
            self._table, self._caption = [], ""
        elif tag == "tr":
            self._table.append([])
        elif tag in {"th", "td"}:
            self._table[-1].append("")
            assert tag == "td" or dict(attrs).get("scope") in {"row", "col", "rowgroup"}

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element without content."""
        self._attributes(tag, dict(attrs))

    def _attributes(self, tag: str, attributes: dict[str, str | None]) -> None:
        assert tag not in {"script", "link", "iframe", "object"}
        assert not any(name.startswith("on") for name in attributes)
        if "id" in attributes:
            self.ids.append(str(attributes["id"]))
        for name in ("src", "href", "xlink:href"):
            address = attributes.get(name)
            if address is not None:
                assert address.startswith(("#", "data:image/")), address
                self.links.append(address)
        if tag == "img":
            assert attributes["alt"]

    def handle_endtag(self, tag: str) -> None:
        """Check that the last open element closes."""
        assert self.open.pop() == tag
        if tag == "table":
            assert self._caption
            assert self._caption not in self.tables
            self.tables[self._caption] = self._table

    def handle_data(self, data: str) -> None:
        """Note text, and the heading, caption or cell that it belongs to."""
        inside = self.open[-1] if self.open else ""
        if inside == "style":
            assert "http" not in data
            assert "@import" not in data
            return
        self.text.append(data)
        if inside == "caption":
            self._caption += data
        elif re.fullmatch("h[1-6]", inside):
            self.titles.append(data)
        elif "table" in self.open and ("th" in self.open or "td" in self.open):
            self._table[-1][-1] += data


def check_page(html: str) -> Page:
    """Parse a page and check that it is complete and loads nothing from elsewhere."""
    assert html.startswith("<!DOCTYPE html>")
    assert '<html lang="en">' in html
    page = Page()
    page.feed(html)
    page.close()
    assert not page.open
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert all(reference in page.ids for reference in re.findall(r"url\(#([^)]+)\)", html))
    return page


def no_picture(_: ImageRecord) -> Path | None:
    """Return no file: the report shows no thumbnails."""
    return None


def write(out: Path, results: StudyResults, **options: Any) -> Page:
    """Write a report and check what holds for every report."""
    report.write(out, results, studies.ran(results), **{"find_image": no_picture, **options})
    page = check_page((out / "report.html").read_text(encoding="utf-8"))
    markdown = (out / "report.md").read_text(encoding="utf-8")
    assert markdown.startswith("# ")
    for name in re.findall(r"\]\((figures/[^)]+)\)", markdown):
        assert ET.parse(out / name).getroot().tag.endswith("svg")
    assert len(list((out / "figures").iterdir())) == markdown.count("](figures/")
    assert not list(out.rglob(".part-*"))
    return page
