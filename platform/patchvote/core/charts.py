"""Charts that pages hold: drawn with matplotlib, readable in light and dark and under the content security policy.

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([1, 2, 3], [0.7, 0.4, 0.3])

    chart = charts.inline(draw, name="loss", alt="The loss falls from 0.7 to 0.3 in three epochs.")

In a template `{{ chart }}` is an `<svg>` element: text and axes have the colour and the font of the text around it, so
it follows any theme, the admin's own too. `patchvote/charts.css` fits it into the page; put it into a
`<div class="chart-frame" tabindex="0">`, which scrolls on a phone. For a part of a page that htmx fetches, answer with
the template that holds it.

Nothing of matplotlib is imported before the first chart; PyTorch never is.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.utils.safestring import SafeString, mark_safe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[["Figure"], None]

_DRAWING = threading.Lock()
"""matplotlib's styles are global: one thread draws at a time, some tens of milliseconds."""

_JOINTS = 'stroke-linejoin="round" stroke-linecap="butt"'


def inline(draw: Draw, *, name: str, alt: str, width: float = 7.5, height: float = 3.2) -> SafeString:
    """Draw a chart as an `<svg>` element for a page.

    Args:
        draw: Puts axes and lines onto an empty figure, in `trainer.report.drawing`'s style; import its `COLOURS`,
            `DASHES`, `line_styles` and `INK` (the page's text colour) inside. Texts are escaped.
        name: Unique in the page; letters, digits and hyphens.
        alt: What is to be seen, for those who cannot.
        width: In inches of 72 points; the page scales the drawing down to its own width.
        height: In inches.
    """
    return mark_safe(_without_styles(_drawn(draw, name, alt, width, height)))  # noqa: S308 (matplotlib escapes texts)


def _drawn(draw: Draw, name: str, alt: str, width: float, height: float) -> str:
    with _DRAWING:
        from trainer.report.drawing import canvas, plot

        with canvas(width, height) as figure:
            draw(figure)
            return plot(figure, name, caption="", alt=alt).svg


def _without_styles(drawing: str) -> str:
    """The same drawing in attributes alone: the policy of pages forbids `<style>` and `style=""`."""
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)
    drawing = drawing.replace("<svg ", f'<svg class="chart" {_JOINTS} ', 1)
    return re.sub(r'(<[^<>]*) style="([^"]*)"', _attributes, drawing)


def _attributes(tag: re.Match[str]) -> str:
    """Declarations as attributes of the same names; the font is the page's."""
    declarations = (declaration.split(":", 1) for declaration in tag[2].split(";") if ":" in declaration)
    pairs = ((name.strip(), value.strip()) for name, value in declarations)
    return tag[1] + "".join(f' {name}="{value}"' for name, value in pairs if name != "font-family")
