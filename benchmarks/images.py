"""Images for the benchmarks: synthetic tissue, and patch files in the thesis's layout."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier.grid import COVER, PatchGrid
from trainer.data.records import CLASSES, SYNTHETIC_MARKER
from trainer.synthetic.dataset import SIZE, Size, sample

_Result = TypeVar("_Result")

MALIGNANT_SHARE = 1370 / 1995
"""The share of malignant images in the thesis's data, BreakHis at 40X."""

_PATIENTS = {"benign": 16, "malignant": 54}
"""The number of patients of each class; BreakHis has as many cases."""


@dataclass(frozen=True)
class Drawing:
    """A micrograph to draw."""

    label: str
    patient: int
    seed: int
    size: Size = SIZE

    def draw(self) -> NDArray[np.uint8]:
        """Draw the pixels: RGB, of shape (height, width, 3)."""
        return np.array(sample(self.label, self.seed, self.size, patient=self.patient))


def drawings(count: int, size: Size = SIZE) -> list[Drawing]:
    """Return `count` micrographs, with classes and patients as unbalanced as in BreakHis at 40X."""
    malignant = min(count - 1, max(1, round(count * MALIGNANT_SHARE)))
    wanted = {"benign": count - malignant, "malignant": malignant}
    return [
        Drawing(label, 1000 * CLASSES.index(label) + number % _PATIENTS[label], number, size)
        for label in CLASSES
        for number in range(wanted[label])
    ]


def draw_all(wanted: Iterable[Drawing], workers: int) -> list[NDArray[np.uint8]]:
    """Draw micrographs on several cores."""
    return _spread(workers, Drawing.draw, list(wanted))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a micrograph as a PNG file, about as large as BreakHis's files."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def write_patch_files(
    folder: Path, wanted: list[Drawing], pixels: list[NDArray[np.uint8]], workers: int, grid: PatchGrid = COVER
) -> int:
    """Write the thesis's layout: each patch of each image as a PNG file in the folder of its class.

    Returns:
        The number of files.
    """
    for label in CLASSES:
        (folder / label).mkdir(parents=True, exist_ok=True)
    stems = [folder / drawing.label / f"{number:05}" for number, drawing in enumerate(wanted)]
    return sum(_spread(workers, _write_patches, stems, pixels, [grid] * len(stems)))


def write_data_set(folder: Path, wanted: list[Drawing], workers: int) -> None:
    """Write whole images with a manifest, as `python -m trainer study` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SYNTHETIC_MARKER).write_text("Drawn by benchmarks/training.py. No patient is behind them.\n", "utf-8")
    names = [f"{number:05}.png" for number in range(len(wanted))]
    _spread(workers, _write_image, wanted, [folder / name for name in names])
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "patient", "magnification"])
        rows.writerows((name, one.label, one.patient, "40X") for name, one in zip(names, wanted, strict=True))


def _spread(workers: int, function: Callable[..., _Result], *arguments: Sequence[Any]) -> list[_Result]:
    """Apply a function like `map`, in several processes."""
    if workers == 1:
        return list(map(function, *arguments))
    # A process that is forked after the use of OpenMP or a GPU may hang, so processes are spawned.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        return list(pool.map(function, *arguments, chunksize=4))


def _write_patches(stem: Path, pixels: NDArray[np.uint8], grid: PatchGrid) -> int:
    boxes = grid.boxes(width=pixels.shape[1], height=pixels.shape[0])
    for number, box in enumerate(boxes):
        patch = pixels[box.y : box.y + box.height, box.x : box.x + box.width]
        Image.fromarray(patch).save(stem.with_name(f"{stem.name}-{number:02}.png"))
    return len(boxes)


def _write_image(drawing: Drawing, path: Path) -> None:
    Image.fromarray(drawing.draw()).save(path, compress_level=1)
