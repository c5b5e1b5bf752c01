"""Versions to promote."""

from pathlib import Path
from typing import Any

import pytest

from classifier import bundle
from classifier.bundle import Bundle


@pytest.fixture
def make_bundle(tiny_bundle: Bundle, tmp_path: Path) -> Any:
    """Makes bundles that differ: `make_bundle(threshold=0.6)`; not synthetic unless said."""

    def make(**changes: Any) -> Bundle:
        folder = tmp_path / "bundles" / str(len(list(tmp_path.glob("bundles/*"))))
        metadata = tiny_bundle.metadata.model_copy(update={"synthetic": False, **changes})
        return bundle.save(folder, tiny_bundle.module().state_dict(), metadata)

    return make


@pytest.fixture
def make_version(db: None, media: Path, make_bundle: Any) -> Any:
    """Registers versions that differ: `make_version(0.6)`."""
    from patchvote.registry import services

    return lambda threshold=0.5, **changes: services.register(
        make_bundle(threshold=threshold, **changes).folder, tried=True
    )


@pytest.fixture
def packed(make_bundle: Any, tmp_path: Path) -> Path:
    """A bundle in one file."""
    bundle.pack(make_bundle(threshold=0.9), tmp_path / "packed.zip")
    return tmp_path / "packed.zip"


@pytest.fixture(autouse=True)
def _uploads_of_their_own(settings: Any, tmp_path: Path) -> None:
    settings.TRAINING_DIR = tmp_path / "training"
