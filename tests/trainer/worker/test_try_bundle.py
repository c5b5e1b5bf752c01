"""Trying uploaded bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from classifier import bundle, networks
from classifier.bundle import Bundle
from classifier.grid import PatchGrid
from testing.orders import fail, succeed
from trainer.worker.protocol import BundleOrder

pytestmark = pytest.mark.usefixtures("torch_started")


def test_a_bundle_that_works_is_unpacked_and_tried(trained: Any, tmp_path: Path) -> None:
    made = Bundle.load(trained[0] / "bundle")
    bundle.pack(made, tmp_path / "a.zip")
    order = BundleOrder(archive=tmp_path / "a.zip", folder=tmp_path / "unpacked")
    result = succeed(tmp_path / "work", order)
    assert result["sha256"] == made.sha256 == Bundle.load(tmp_path / "unpacked").sha256
    assert (result["name"], result["network"]) == ("model", "squeezenet")
    assert 0 <= result["probability"] <= 1
    again = succeed(tmp_path / "work", order)
    assert {**again, "seconds": 0} == {**result, "seconds": 0}


def broken(tmp_path: Path, weight: float = 0.0, **changes: Any) -> Path:
    """A packed bundle with the same weight everywhere."""
    module = networks.create("squeezenet")
    state = {name: torch.full_like(tensor, weight) for name, tensor in module.state_dict().items()}
    metadata = bundle.BundleMetadata(
        name="broken", network="squeezenet", normalisation=networks.spec("squeezenet").normalisation, threshold=0.5
    ).model_copy(update=changes)
    bundle.pack(bundle.save(tmp_path / "broken", state, metadata), tmp_path / "a.zip")
    return tmp_path / "a.zip"


def test_a_bundle_that_is_larger_than_the_order_allows_is_refused(tmp_path: Path) -> None:
    file = broken(tmp_path)
    order = BundleOrder(archive=file, folder=tmp_path / "unpacked", max_bytes=1 << 20)
    failed = fail(tmp_path / "work", order)
    assert failed.code == "bad_bundle"
    assert "1 MB" in failed.message
    assert not order.folder.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weight": np.nan}, "not a number"),
        ({"network": "resnet18"}, "do not fit"),
        ({"network": "resnet9000"}, "network is unknown"),
        ({"grid": PatchGrid(size=16, stride=1)}, "too many"),
        ({"grid": PatchGrid(size=5000, stride=5000)}, "too large"),
    ],
)
def test_a_bundle_that_does_not_work_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    order = BundleOrder(archive=broken(tmp_path, **changes), folder=tmp_path / "unpacked")
    failed = fail(tmp_path / "work", order)
    assert failed.code == "bad_bundle"
    assert words in failed.message
    assert not (tmp_path / "unpacked").exists()


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "a.pt")
    failed = fail(tmp_path / "work", BundleOrder(archive=tmp_path / "a.pt", folder=tmp_path / "unpacked"))
    assert failed.code == "bad_bundle"
    assert not (tmp_path / "unpacked").exists()
