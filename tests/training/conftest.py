"""Synthetic data sets, and a training worker whose child processes are real."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from patchvote.jobs.models import State
from patchvote.training import data_sets, runs
from patchvote.training.models import DataSet, TrainingRun
from trainer.options import FitOptions
from trainer.synthetic.dataset import write_tree

QUICK = FitOptions(folds=2)
"""A head on frozen features: seconds."""

TRAINED = FitOptions(
    network="squeezenet", mode="scratch", folds=2, epochs=2, draws=1, batch_size=8, learning_rate=1e-4, ema=0
)
"""Two folds of two epochs, and the fit on all images."""


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of synthetic micrographs: eight patients, two images each."""
    folder = tmp_path_factory.mktemp("data") / "tree"
    write_tree(folder, patients=4, images=2, seed=7)
    return folder


@pytest.fixture(scope="session")
def zipped(tree: Path) -> bytes:
    """The same as a zip, below one folder."""
    return pack({f"study/{path.relative_to(tree)}": path.read_bytes() for path in tree.rglob("*") if path.is_file()})


def pack(files: dict[str, bytes]) -> bytes:
    """A zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def as_upload(data: bytes, name: str = "data.zip") -> SimpleUploadedFile:
    """What a form receives."""
    return SimpleUploadedFile(name, data, "application/zip")


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Decoded images and features of all tests: each is computed once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _folders(settings: Any, tmp_path: Path, features: Path, media: Path) -> None:
    settings.TRAINING_DIR = tmp_path / "training"
    settings.CACHE_DIR = features
    settings.DATA_ROOTS = [tmp_path / "import"]
    settings.TRAINING_DEVICE = "cpu"


@pytest.fixture
def train() -> Callable[[], None]:
    """Does in this process what a training worker does, until nothing is due."""
    from patchvote.training import worker

    return worker.work


@pytest.fixture
def data_set(zipped: bytes) -> DataSet:
    """One that is queued to be checked."""
    added = DataSet(name="synthetic")
    data_sets.add_archive(added, as_upload(zipped))
    return added


@pytest.fixture
def checked(data_set: DataSet, train: Callable[[], None]) -> DataSet:
    """One that passed its check."""
    train()
    data_set.refresh_from_db()
    assert data_set.state == State.SUCCEEDED, (data_set.error, data_set.error_details, data_set.log_end())
    return data_set


@pytest.fixture
def start(checked: DataSet) -> Callable[..., TrainingRun]:
    """Queues a run on the checked data set: `start()`, `start(TRAINED)`."""

    def begin(options: FitOptions = QUICK, name: str = "mine-40x", **fields: Any) -> TrainingRun:
        run = TrainingRun(data_set=checked, name=name, **fields)
        runs.start(run, options)
        return run

    return begin


@pytest.fixture
def shipped_version(media: Path) -> Any:
    """The bundle that comes with Patchvote, registered."""
    from classifier import bundle
    from patchvote.registry import services

    return services.register(bundle.SHIPPED, tried=True)
