"""Charts for pages: drawn with matplotlib, readable in both themes, allowed by the content security policy.

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([1, 2, 3], [0.7, 0.4, 0.3])

    chart = charts.inline(draw, name="loss", alt="The loss falls from 0.7 to 0.3 in three epochs.")

In a template `{{ chart }}` is an `<svg>` element. Its text and axes take colour and font from the surrounding text, so
the chart follows every theme, including the admin's. `patchvote/charts.css` fits it into the page; put it into a
`<div class="chart-frame" tabindex="0">`, which scrolls on a phone. If htmx fetches the part of the page with the chart,
respond with the template that contains it.

The first chart imports matplotlib; no chart imports PyTorch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.utils.safestring import SafeString, mark_safe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[["Figure"], None]

_DRAWING = threading.Lock()
"""matplotlib's styles are global: only one thread draws at a time, for some tens of milliseconds."""


def inline(draw: Draw, *, name: str, alt: str, width: float = 7.5, height: float = 3.2) -> SafeString:
    """Return a chart as an `<svg>` element for a page.

    Args:
        draw: Adds axes and lines to an empty figure, in `trainer.report.drawing`'s style; import its `COLOURS`,
            `DASHES` and `line_styles`, and `trainer.report.svg.INK` (the page's text colour) inside. Texts are escaped.
        name: An identifier that is unique in the page; letters, digits and hyphens.
        alt: The text alternative, for screen readers.
        width: Width in inches of 72 points; the page scales the chart down to its own width.
        height: Height in inches.
    """
    return mark_safe(_render(draw, name, alt, width, height))  # noqa: S308 (ElementTree escapes texts)


def _render(draw: Draw, name: str, alt: str, width: float, height: float) -> str:
    with _DRAWING:
        from trainer.report.drawing import canvas
        from trainer.report.svg import render

        with canvas(width, height) as figure:
            draw(figure)
            return render(figure, name, alt=alt, css_class="chart")
