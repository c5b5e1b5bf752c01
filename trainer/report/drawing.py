"""The style of all plots and charts: colours, dashes, axes, and a canvas to draw on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer.report.document import Plot
from trainer.report.svg import INK, render

COLOURS = ("#2f7ed8", "#d9730d", "#1f9d63", "#9b59d0", "#d94a4a", "#1795a5", "#a6744a", "#d6589f")
"""The colours of lines, in order; each is readable on a light and on a dark background."""

DASHES = ("-", "--", ":", "-.")
"""The dashes of lines, which distinguish them without colour and beyond the number of colours."""

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
    """Yield an empty figure of a size in inches; draw on it and render it inside the `with` block."""
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def plot(figure: Figure, name: str, *, caption: str, alt: str) -> Plot:
    """Return a plot of a figure.

    Args:
        figure: A figure from `canvas`.
        name: Name of the plot and of its file, without the suffix; unique in a report.
        caption: Caption of the plot.
        alt: Description for readers who cannot see the plot.
    """
    return Plot(name, caption, alt, render(figure, name, alt=alt))


def shortened(name: str) -> str:
    """Shorten a candidate's name for a legend; matplotlib hides names that begin with an underscore."""
    name = name.lstrip("_")
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


def unit_square(axes: Axes, x: str, y: str) -> None:
    """Set both axes to the range from 0 to 1 with the same length, and their labels."""
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x, ylabel=y, aspect="equal")


def line_styles() -> Iterator[dict[str, Any]]:
    """Yield the colour and the dashes of one line after another, endlessly."""
    for number in count():
        yield {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": DASHES[(number + number // len(COLOURS)) % len(DASHES)],
        }
