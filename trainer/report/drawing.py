"""Figures as SVG that a page can hold: repeatable to the byte, and in the page's own text colour, light or dark."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer.report.document import Plot

COLOURS = ("#2f7ed8", "#d9730d", "#1f9d63", "#9b59d0", "#d94a4a", "#1795a5", "#a6744a", "#d6589f")
"""Of lines, in their order: each can be read on white and on black."""

DASHES = ("-", "--", ":", "-.")
"""So that lines differ without colour, and beyond the number of colours."""

INK = "#010203"
"""Stands for the page's text colour, and becomes it in the SVG."""

_LONGEST = 44

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "patchvote",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 8,
}


@contextmanager
def canvas(width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches, to be drawn on and turned into a plot inside the `with`."""
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def plot(figure: Figure, name: str, *, caption: str, alt: str) -> Plot:
    """Make a plot of a figure.

    Args:
        figure: From `canvas`.
        name: Of its file, without the suffix; unique in a report.
        caption: What it shows.
        alt: What is to be seen, for those who cannot.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg ") :].replace(INK, "currentColor")
    # Several drawings share a page: their names must not meet, nor their styles reach beyond them.
    own = f"figure-{name}"
    drawing = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{own}-", drawing)
    drawing = drawing.replace("*{stroke-linejoin", f"#{own} *{{stroke-linejoin")
    title = f"<title>{html.escape(alt)}</title>"
    drawing = re.sub(r"<svg ([^>]*)>", rf'<svg id="{own}" role="img" \1>\n {title}', drawing, count=1)
    return Plot(name, caption, alt, "\n".join(line.rstrip() for line in drawing.splitlines()))


def shortened(name: str) -> str:
    """A candidate's name as far as a figure has room for it; matplotlib hides names that begin with an underscore."""
    name = name.lstrip("_")
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


def unit_square(axes: Axes, x: str, y: str) -> None:
    """Both axes from 0 to 1, of the same length, with their labels."""
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x, ylabel=y, aspect="equal")


def line_styles() -> Iterator[dict[str, Any]]:
    """Colours and dashes of one line after the other, without end."""
    for number in count():
        yield {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": DASHES[(number + number // len(COLOURS)) % len(DASHES)],
        }
