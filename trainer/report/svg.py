"""matplotlib figures as SVG elements for pages, the same for reports and for the platform's pages.

An element is accessible (it has a role and a title), follows the theme (the page's text colour and font), and shares no
id with other elements of the page. It contains no `<style>` and no `style=""`, because strict content security policies
forbid them. The same figure gives the same bytes.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

from matplotlib.figure import Figure

INK = "#010203"
"""The placeholder for the page's text colour, which replaces it in the SVG."""

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"
_DEFAULTS = {"stroke-linejoin": "round", "stroke-linecap": "butt"}
"""matplotlib's only style sheet, as attributes that all elements inherit."""

ET.register_namespace("", _SVG)
ET.register_namespace("xlink", _XLINK)


def render(figure: Figure, name: str, *, alt: str, css_class: str = "") -> str:
    """Render a figure as an `<svg>` element.

    Args:
        figure: The figure, drawn in the style of `trainer.report.drawing.canvas`.
        name: Name of the figure: letters, digits and hyphens, unique in the page.
        alt: Description for readers who cannot see the figure.
        css_class: CSS class of the element, or "".
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 (matplotlib's own output)
    prefix = f"figure-{name}"
    for element in root.iter():
        _remove_style_sheets(element)
        _use_attributes(element)
        _prefix_ids(element, prefix)
    title = ET.Element(f"{{{_SVG}}}title")
    title.text, title.tail = alt, "\n"
    root.insert(0, title)
    root.attrib = {
        **({"class": css_class} if css_class else {}), **root.attrib, **_DEFAULTS, "id": prefix, "role": "img",
    }  # fmt: skip
    return "\n".join(line.rstrip() for line in ET.tostring(root, encoding="unicode").splitlines())


def standalone(svg: str) -> str:
    """Return an element of `render` as a document of its own, on a white background."""
    root = ET.fromstring(svg)  # noqa: S314 (made by `render`)
    root.set("style", "color: #1b1f24; background: #fff; font-family: sans-serif")
    return ET.tostring(root, encoding="unicode")


def _remove_style_sheets(element: ET.Element) -> None:
    for child in element.findall(f"{{{_SVG}}}style"):
        element.remove(child)


def _use_attributes(element: ET.Element) -> None:
    """Replace the `style` attribute by one attribute per declaration; the font family is that of the page."""
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name and name != "font-family":
            element.set(name, value)
    for name, value in element.items():
        if value == INK:
            element.set(name, "currentColor")


def _prefix_ids(element: ET.Element, prefix: str) -> None:
    for name, value in element.items():
        if name == "id":
            element.set(name, f"{prefix}-{value}")
        elif name == _HREF and value.startswith("#"):
            element.set(name, f"#{prefix}-{value[1:]}")
        elif value.startswith("url(#"):
            element.set(name, value.replace("url(#", f"url(#{prefix}-", 1))
