"""Synthetic data sets and a training worker.

Its children do their orders within the test's process, unless the test asks for `real_children`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchvote.jobs.models import State
from patchvote.training import child, data_sets, runs
from patchvote.training.models import DataSet, TrainingRun
from testing.data_sets import pack, write_small_tree
from testing.options import FROZEN
from testing.torch_start import first_step
from testing.training import InProcessChild, as_upload
from trainer.options import FitOptions


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of synthetic micrographs: eight patients, two images each."""
    return write_small_tree(tmp_path_factory.mktemp("data") / "tree", images=2, seed=7)


@pytest.fixture(scope="session")
def zipped(tree: Path) -> bytes:
    """The same as a zip, below one folder."""
    return pack({f"study/{path.relative_to(tree)}": path.read_bytes() for path in tree.rglob("*") if path.is_file()})


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of decoded images and features: each is computed once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _folders(settings: Any, tmp_path: Path, features: Path, media: Path) -> None:
    settings.TRAINING_DIR = tmp_path / "training"
    settings.CACHE_DIR = features
    settings.DATA_ROOTS = [tmp_path / "import"]
    settings.TRAINING_DEVICE = "cpu"
    settings.TRAINING_NICENESS = 0  # else the children of one test wait for all other tests


@pytest.fixture(autouse=True)
def _children_without_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real_children" not in request.fixturenames:
        monkeypatch.setattr("patchvote.training.worker.Child", InProcessChild)


@pytest.fixture
def real_children(monkeypatch: pytest.MonkeyPatch) -> list[child.Child]:
    """Makes the worker start processes; the list gets each child that it starts."""
    started: list[child.Child] = []

    class Recorded(child.Child):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            started.append(self)

    monkeypatch.setattr("patchvote.training.worker.Child", Recorded)
    return started


@pytest.fixture
def train() -> Callable[[], None]:
    """Does in this process what a training worker does, until no job is due."""
    from patchvote.training import worker

    return lambda: worker.work(poll_seconds=0.05)


@pytest.fixture
def data_set(zipped: bytes) -> DataSet:
    """A data set that waits for its check."""
    added = DataSet(name="synthetic")
    data_sets.add_archive(added, as_upload(zipped))
    return added


@pytest.fixture
def checked(data_set: DataSet, train: Callable[[], None]) -> DataSet:
    """A data set that passed its check."""
    train()
    data_set.refresh_from_db()
    assert data_set.state == State.SUCCEEDED, (data_set.error, data_set.error_details, data_set.log_end())
    return data_set


@pytest.fixture
def start(checked: DataSet) -> Callable[..., TrainingRun]:
    """Queues a run on the checked data set: `start()`, `start(TRAINED)`."""

    def begin(options: FitOptions = FROZEN, name: str = "mine-40x", **fields: Any) -> TrainingRun:
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


@pytest.fixture(scope="session")
def torch_started() -> None:
    """PyTorch after its first training step."""
    first_step()
