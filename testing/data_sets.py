"""Small synthetic data sets: as files, as zips, and without any file."""

from __future__ import annotations

import functools
import io
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.datasets import ImageDataset
from trainer.data.records import LabelledImage
from trainer.synthetic.dataset import Size, sample, write_tree

Write = Callable[[Sequence[Mapping[str, Any]]], Path]
"""The type of the fixture `write`."""

SMALL: Size = (240, 230)
"""Width and height in pixels; an image of this size is drawn six times as fast as one of BreakHis's 700x460."""


@functools.cache
def sample_png(label: str, seed: int, size: Size = SMALL) -> bytes:
    """Return a synthetic micrograph as a PNG file; each is drawn once per process."""
    file = io.BytesIO()
    sample(label, seed, size).save(file, "PNG", compress_level=1)
    return file.getvalue()


def write_sample(path: Path, label: str, seed: int, size: Size = SMALL) -> None:
    """Write a synthetic micrograph as a PNG file, and its folder if it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sample_png(label, seed, size))


def write_small_tree(folder: Path, *, patients: int = 4, images: int = 1, seed: int = 0) -> Path:
    """Write a tree with the names of BreakHis and small images, and return its folder.

    Args:
        folder: Must not exist, or must be empty.
        patients: Number of patients of each class.
        images: Number of images of each patient.
        seed: Determines all images.
    """
    write_tree(folder, patients=patients, images=images, seed=seed, size=SMALL)
    return folder


def write_manifest(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write a `manifest.csv` of these rows, draw the images that do not exist, and return the folder.

    Args:
        folder: Keeps the manifest and the images.
        rows: Columns by their names; a row with a label that no class has gets no image.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(columns)]
    for seed, row in enumerate(rows):
        lines.append(",".join(str(row.get(name, "")) for name in columns))
        path = folder / row["path"]
        if row["label"] in {"benign", "malignant"} and not path.exists():
            write_sample(path, row["label"], seed)
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def copy_tree(source: Path, target: Path) -> Path:
    """Copy a data set, so that a test may change its files."""
    return Path(shutil.copytree(source, target))


def listed(*patients: tuple[str, str, int]) -> ImageDataset:
    """Return a data set without files.

    Args:
        patients: Label, patient and number of images of each patient.
    """
    images = [
        LabelledImage(Path(f"{patient}-{number}.png"), label, patient, sha256=f"{patient}-{number}")
        for label, patient, count in patients
        for number in range(count)
    ]
    return ImageDataset(tuple(images))


def many(patients: int = 10, images: int = 3) -> ImageDataset:
    """Return a data set without files.

    Args:
        patients: Number of patients of each class.
        images: Number of images of each patient.
    """
    return listed(
        *(("benign", f"b{number}", images) for number in range(patients)),
        *(("malignant", f"m{number}", images) for number in range(patients)),
    )


def rng(seed: int = 0) -> np.random.Generator:
    """Return a random generator."""
    return np.random.default_rng(seed)


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a zip that holds these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()
