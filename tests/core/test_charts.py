"""Charts in pages: valid, repeatable, without styles that the security policy forbids, and without PyTorch."""

import subprocess
import sys
import xml.dom.minidom
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from patchvote.core import charts


def draw(figure: Any) -> None:
    axes = figure.subplots()
    axes.plot([1, 2, 3], [0.7, 0.4, 0.3], "--", marker="o", label='<b> & style="x: y; z"')
    axes.fill_between([1, 3], [0.6, 0.2], [0.8, 0.4], alpha=0.2)
    axes.legend()


def made(name: str = "loss") -> str:
    return charts.inline(draw, name=name, alt="The loss falls & falls.")


def test_a_chart_has_attributes_for_styles_and_the_pages_colour_and_font() -> None:
    drawing = xml.dom.minidom.parseString(made())
    elements = drawing.getElementsByTagName("*")
    assert not drawing.getElementsByTagName("style")
    assert not any(element.hasAttribute("style") or element.hasAttribute("font-family") for element in elements)
    texts = drawing.getElementsByTagName("text")
    assert texts and all(text.getAttribute("fill") == "currentColor" for text in texts)
    dashed = [element for element in elements if element.hasAttribute("stroke-dasharray")]
    assert dashed and all(element.getAttribute("fill") == "none" for element in dashed)


def test_texts_are_escaped_and_stay_whole() -> None:
    drawing = xml.dom.minidom.parseString(made())
    assert '<b> & style="x: y; z"' in {text.firstChild.data for text in drawing.getElementsByTagName("text")}
    assert drawing.getElementsByTagName("title")[0].firstChild.data == "The loss falls & falls."


def test_charts_of_one_page_share_no_ids() -> None:
    page = xml.dom.minidom.parseString(f"<div>{made('loss')}{made('accuracy')}</div>")
    ids = [element.getAttribute("id") for element in page.getElementsByTagName("*") if element.hasAttribute("id")]
    assert len(ids) == len(set(ids))


def test_threads_that_draw_at_the_same_time_draw_the_same() -> None:
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: made(), range(8))) == {made()}


@pytest.mark.slow
def test_drawing_loads_no_pytorch_and_the_module_nothing_heavy() -> None:
    code = (
        "import sys; from patchvote.core import charts; assert 'matplotlib' not in sys.modules; "
        "charts.inline(lambda figure: figure.subplots(), name='x', alt=''); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
