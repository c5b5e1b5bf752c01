"""Small synthetic data sets, drawn once for all tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from testing.data_sets import Write, write_manifest, write_small_tree
from testing.torch_start import first_step


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write images and a manifest of rows; a row has a path, a label, a patient, and more columns."""

    def write_rows(rows: Sequence[Mapping[str, Any]]) -> Path:
        return write_manifest(tmp_path, rows)

    return write_rows


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


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with one small image of each of four patients of each class; no test changes it."""
    return write_small_tree(tmp_path_factory.mktemp("data") / "tree")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of decoded images and features: each is computed once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def torch_started() -> None:
    """PyTorch after its first training step."""
    first_step()
