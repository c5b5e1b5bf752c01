"""A data set that was checked, and a run that was trained: once for all tests of the child."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from classifier.grid import PatchGrid
from tests.trainer.children import do, succeed
from trainer.options import FitOptions
from trainer.synthetic.dataset import write_tree
from trainer.worker.protocol import CheckOrder, TrainOrder

FROZEN = FitOptions(grid=PatchGrid(size=112, stride=112), folds=2)
TRAINED = FitOptions(
    network="squeezenet", mode="scratch", grid=PatchGrid(size=64, stride=80), folds=2, epochs=2, draws=1, batch_size=8
)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "tree"
    write_tree(folder, patients=4, images=1)
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def checked(tree: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return succeed(tmp_path_factory.mktemp("work") / "check", CheckOrder(source=tree, cache=cache))


@pytest.fixture(scope="session")
def trained(tree: Path, cache: Path, checked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("work") / "train"
    order = TrainOrder(
        source=tree, fingerprint=checked["fingerprint"], name="model", options=TRAINED, cache=cache, device="cpu"
    )
    return folder, order, *do(folder, order)
