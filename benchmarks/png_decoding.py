"""Measures what the decoder for plain PNG files gains: `python -m benchmarks.png_decoding`.

Synthetic micrographs of 700x460 are decoded in several ways, in turn and in one process; the shortest time of each file
counts, and the mean over all files is printed. All ways except the first refuse files that end too early.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np
from PIL import Image

from benchmarks import machine
from benchmarks.images import draw_all, drawings
from benchmarks.images import png as encode
from classifier.imaging import png


def pillow_alone(data: bytes, _size: tuple[int, int]) -> object:
    """Decode with Pillow, which accepts incomplete files."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def pillow_if_complete(data: bytes, size: tuple[int, int]) -> object:
    """Check that the image data is complete, then decode with Pillow."""
    with mock.patch.object(png, "MAX_PIXELS", 0):
        assert png.decode_png(data, size) is None
    return pillow_alone(data, size)


def chunks_then_kornia(data: bytes, size: tuple[int, int]) -> object:
    """Search the chunks for markers, then decode with kornia: what Patchvote does."""
    pixels = png.decode_png(data, size)
    assert pixels is not None
    return pixels


def whole_file_then_kornia(data: bytes, size: tuple[int, int]) -> object:
    """Search the whole file for markers instead of its chunks, then decode with kornia."""
    with mock.patch.object(png, "_chunks", lambda content: iter([(b"", -4, len(content) - 4)])):
        return chunks_then_kornia(data, size)


WAYS: dict[str, Callable[[bytes, tuple[int, int]], object]] = {
    "Pillow, incomplete files accepted": pillow_alone,
    "completeness check, then Pillow": pillow_if_complete,
    "search of the whole file, then kornia": whole_file_then_kornia,
    "search of the chunks, then kornia (Patchvote)": chunks_then_kornia,
}


def measure(files: list[bytes], size: tuple[int, int], turns: int) -> dict[str, float]:
    """Return the mean over all files of the shortest time, in milliseconds, for each way."""
    best = {name: [float("inf")] * len(files) for name in WAYS}
    for _ in range(turns):
        for number, data in enumerate(files):
            for name, decode in WAYS.items():
                started = time.perf_counter()
                decode(data, size)
                best[name][number] = min(best[name][number], time.perf_counter() - started)
    return {name: 1000 * sum(times) / len(times) for name, times in best.items()}


@click.command()
@click.option("--images", default=12, show_default=True, help="Number of micrographs.")
@click.option("--turns", default=20, show_default=True, help="Number of times each file is decoded in each way.")
@machine.json_option
def main(images: int, turns: int, written: Path | None) -> None:
    """Measure the ways of decoding a plain PNG file."""
    found: dict[str, Any] = {"machine": machine.conditions(packages=("pillow", "kornia_rs", "numpy"))}
    click.echo("\n".join(machine.opening(found["machine"])))
    pixels = draw_all(drawings(images), 1)
    files = [encode(one) for one in pixels]
    height, width = pixels[0].shape[:2]
    found["milliseconds"] = measure(files, (width, height), turns)
    for name, milliseconds in found["milliseconds"].items():
        click.echo(f"{milliseconds:8.2f} ms  {name}")
    machine.write(found, written)


if __name__ == "__main__":
    main()
