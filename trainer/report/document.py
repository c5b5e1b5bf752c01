"""The blocks of a report (tables, plots, texts), and their rendering as HTML and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from trainer.report.svg import standalone
from trainer.utils.files import write_atomically

FIGURES = "figures"
"""The folder of the plots' files, beside the Markdown file."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table: `detail`, such as an interval, is set in smaller type; `strong` sets the cell in bold."""

    text: str
    detail: str = ""
    strong: bool = False


Entry: TypeAlias = str | int | Cell


@dataclass(frozen=True)
class Group:
    """A group of rows, under a heading unless that is ""; the first cell of each row is its header."""

    heading: str
    rows: Sequence[Sequence[Entry]]

    @property
    def cells(self) -> Iterator[list[Cell]]:
        """The rows, with each entry as a cell."""
        for row in self.rows:
            yield [entry if isinstance(entry, Cell) else Cell(str(entry)) for entry in row]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: The caption, a phrase.
        columns: The headings of the columns.
        groups: The groups of rows; each row is as long as `columns`.
        note: A note below the table, or "".
        words: The number of the first columns that contain words; the other columns contain numbers.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    groups: Sequence[Group]
    note: str = ""
    words: int = 1

    def __post_init__(self) -> None:
        wrong = [row for group in self.groups for row in group.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"A row of the table {self.caption!r} does not fit its columns: {wrong[0]}")


@dataclass(frozen=True)
class Plot:
    """A plot.

    Attributes:
        name: The name of the plot's file, without the suffix.
        caption: The caption.
        alt: The description for readers who cannot see the plot.
        svg: The plot as an `<svg>` element; see `trainer.report.svg`.
    """

    kind: ClassVar[str] = "plot"
    name: str
    caption: str
    alt: str
    svg: str

    @property
    def path(self) -> str:
        """The path of the plot's file, relative to the report."""
        return f"{FIGURES}/{self.name}.svg"

    @property
    def file(self) -> str:
        """The content of the plot's file."""
        return standalone(self.svg)


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Facts:
    """A list of names with their values; a name may have several values."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str | Sequence[str]]]

    @property
    def lists(self) -> Iterator[tuple[str, Sequence[str]]]:
        """The names, each with a list of values."""
        for name, value in self.pairs:
            yield name, [value] if isinstance(value, str) else value


@dataclass(frozen=True)
class Thumbnail:
    """A thumbnail: `source` is a data URI, or "" without an image; `lines` are the lines of text below it."""

    source: str
    alt: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Gallery:
    """A list of thumbnails."""

    kind: ClassVar[str] = "gallery"
    images: Sequence[Thumbnail]


@dataclass(frozen=True)
class Details:
    """A group of blocks that is folded until the reader opens it."""

    kind: ClassVar[str] = "details"
    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Section:
    """A heading with blocks below it; sections may contain sections."""

    kind: ClassVar[str] = "section"
    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """The id of the heading, to which links lead."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


Block: TypeAlias = Table | Plot | Text | Facts | Gallery | Details | Section


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: The title.
        warnings: The warnings at the top of the page, one sentence each.
        lead: The summary, a paragraph.
        sections: The sections.
    """

    title: str
    warnings: Sequence[str]
    lead: str
    sections: Sequence[Section]

    @property
    def html(self) -> str:
        """The report as a self-contained HTML page."""
        page = _ENVIRONMENT.get_template("report.html").render(document=self)
        return re.sub(r"(?<=\d) (?=%)", "&nbsp;", page)

    @property
    def markdown(self) -> str:
        """The report as Markdown, with the plots as files."""
        text = _ENVIRONMENT.get_template("report.md").render(document=self)
        return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"

    @property
    def plots(self) -> Iterator[Plot]:
        """All plots, in order."""
        return _plots(self.sections)

    def write(self, out: Path, name: str) -> None:
        """Write `name.html`, `name.md` and the plots' files into a folder, each atomically."""
        write_text(out / f"{name}.html", self.html)
        for plot in self.plots:
            write_text(out / plot.path, plot.file)
        write_text(out / f"{name}.md", self.markdown)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def _plots(blocks: Sequence[Block]) -> Iterator[Plot]:
    for block in blocks:
        if isinstance(block, Plot):
            yield block
        elif isinstance(block, Section | Details):
            yield from _plots(block.blocks)


def _markdown(text: str) -> str:
    """Escape a text for Markdown and put it on one line."""
    escaped = re.sub(r"([\\`*|\[\]])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


# Only HTML is escaped automatically; Markdown has a filter of its own.
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters["md"] = _markdown
