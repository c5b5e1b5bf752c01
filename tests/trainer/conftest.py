"""Small synthetic data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data.datasets import ImageDataset
from trainer.data.records import LabelledImage
from trainer.synthetic.dataset import sample

Write = Callable[..., Path]

SIZE = (240, 230)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write images and a manifest of rows (name, label, patient, more columns …); a name None is not drawn."""

    def write_manifest(rows: list[dict[str, Any]], draw: bool = True) -> Path:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        lines = [",".join(columns)]
        for seed, row in enumerate(rows):
            lines.append(",".join(str(row.get(name, "")) for name in columns))
            path = tmp_path / row["path"]
            if draw and row["label"] in {"benign", "malignant"} and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                sample(row["label"], seed, SIZE).save(path)
        (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path

    return write_manifest


@pytest.fixture
def small(write: Write) -> Path:
    """Four patients of each class with two images each, as a manifest; at 40X, and one at 100X."""
    rows: list[dict[str, Any]] = [
        {
            "path": f"{label}{patient}{image}.png",
            "label": label,
            "patient": f"{label[0]}{patient}",
            "magnification": "40X",
        }
        for label in ("benign", "malignant")
        for patient in range(4)
        for image in range(2)
    ]
    rows.append({"path": "more.png", "label": "benign", "patient": "b0", "magnification": "100X"})
    return write(rows)


def listed(*patients: tuple[str, str, int]) -> ImageDataset:
    """A data set without files: (label, patient, number of images) each."""
    images = [
        LabelledImage(Path(f"{patient}-{number}.png"), label, patient, sha256=f"{patient}-{number}")
        for label, patient, count in patients
        for number in range(count)
    ]
    return ImageDataset(tuple(images))


def many(patients: int = 10, images: int = 3) -> ImageDataset:
    """A data set without files, with as many patients of each class."""
    return listed(
        *(("benign", f"b{number}", images) for number in range(patients)),
        *(("malignant", f"m{number}", images) for number in range(patients)),
    )


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)
