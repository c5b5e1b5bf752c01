"""What a report is made of (tables, figures, sentences), and how that becomes HTML or Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from trainer.utils.files import write_atomically

FIGURES = "figures"
"""The folder, beside the Markdown, of the figures' files."""


@dataclass(frozen=True)
class Cell:
    """One entry of a table: `detail` is set smaller, such as an interval; `strong` marks the best."""

    text: str
    detail: str = ""
    strong: bool = False


Entry: TypeAlias = str | int | Cell


@dataclass(frozen=True)
class Group:
    """Rows that belong together, under a heading unless that is ""; the first cell of a row names it."""

    heading: str
    rows: Sequence[Sequence[Entry]]

    @property
    def cells(self) -> Iterator[list[Cell]]:
        """The rows, each entry as a cell."""
        for row in self.rows:
            yield [entry if isinstance(entry, Cell) else Cell(str(entry)) for entry in row]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: What it shows, in a phrase.
        columns: Their headings.
        groups: Rows, each as long as `columns`.
        note: A sentence below it, or "".
        words: How many of the first columns hold words; the others hold numbers.
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
    """A figure.

    Attributes:
        name: Of its file, without the suffix.
        caption: What it shows.
        alt: What is to be seen, for those who cannot.
        svg: The drawing, an `<svg>` element in which text and axes have the colour of the text around it.
    """

    kind: ClassVar[str] = "plot"
    name: str
    caption: str
    alt: str
    svg: str

    @property
    def path(self) -> str:
        """Of its file, relative to the report."""
        return f"{FIGURES}/{self.name}.svg"

    @property
    def file(self) -> str:
        """The drawing on a white ground, for viewers that know nothing of the page around it."""
        return self.svg.replace("<svg ", '<svg style="color: #1b1f24; background: #fff" ', 1)


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Facts:
    """Names and what they stand for; several values are a list."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str | Sequence[str]]]

    @property
    def lists(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Each name with its values."""
        for name, value in self.pairs:
            yield name, [value] if isinstance(value, str) else value


@dataclass(frozen=True)
class Thumbnail:
    """A small image: `source` is a data URI, or "" where there is none; `lines` are set below it."""

    source: str
    alt: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Gallery:
    """Small images."""

    kind: ClassVar[str] = "gallery"
    images: Sequence[Thumbnail]


@dataclass(frozen=True)
class Details:
    """What few want to see, folded away."""

    kind: ClassVar[str] = "details"
    summary: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Section:
    """A heading with what is below it; sections may hold sections."""

    kind: ClassVar[str] = "section"
    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """What a link leads to."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


Block: TypeAlias = Table | Plot | Text | Facts | Gallery | Details | Section


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: Its heading.
        warnings: Sentences that nobody may miss.
        lead: What it says, in a paragraph.
        sections: The rest.
    """

    title: str
    warnings: Sequence[str]
    lead: str
    sections: Sequence[Section]

    @property
    def html(self) -> str:
        """A page that stands alone."""
        page = _ENVIRONMENT.get_template("report.html").render(document=self)
        return re.sub(r"(?<=\d) (?=%)", "&nbsp;", page)

    @property
    def markdown(self) -> str:
        """The same as Markdown; its figures are files."""
        text = _ENVIRONMENT.get_template("report.md").render(document=self)
        return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"

    @property
    def plots(self) -> Iterator[Plot]:
        """All figures, in their order."""
        return _plots(self.sections)

    def write(self, out: Path, name: str) -> None:
        """Write `name.html`, `name.md` and the figures' files, each completely or not at all."""
        write_text(out / f"{name}.html", self.html)
        for plot in self.plots:
            write_text(out / plot.path, plot.file)
        write_text(out / f"{name}.md", self.markdown)


def write_text(path: Path, text: str) -> None:
    """Write a text file completely or not at all."""
    write_atomically(path, lambda file: file.write(text.encode()))


def _plots(blocks: Sequence[Block]) -> Iterator[Plot]:
    for block in blocks:
        if isinstance(block, Plot):
            yield block
        elif isinstance(block, Section | Details):
            yield from _plots(block.blocks)


def _markdown(text: str) -> str:
    """Text as Markdown that shows it as it is, on one line."""
    escaped = re.sub(r"([\\`*|\[\]])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


# Markdown is escaped by its own filter: HTML's rules would spoil it.
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters["md"] = _markdown
