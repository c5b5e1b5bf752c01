"""A data set that was checked, and a run that was trained: once for all tests of the child."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from testing.options import FINETUNE
from testing.orders import do, succeed
from trainer.worker.protocol import CheckOrder, TrainOrder


@pytest.fixture(scope="session")
def checked(tree: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return succeed(tmp_path_factory.mktemp("work") / "check", CheckOrder(source=tree, cache=cache))


@pytest.fixture(scope="session")
def trained(tree: Path, cache: Path, checked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("work") / "train"
    order = TrainOrder(
        source=tree, fingerprint=checked["fingerprint"], name="model", options=FINETUNE, cache=cache, device="cpu"
    )
    return folder, order, *do(folder, order)
