"""Comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from classifier import bundle, networks
from classifier.bundle import Bundle
from testing.orders import do, fail, labelled, succeed
from trainer.worker.protocol import CompareOrder, Progress, Succeeded

pytestmark = pytest.mark.usefixtures("torch_started")


@pytest.fixture(scope="session")
def judges(checked: dict[str, Any], tree: Path, trained: Any, tmp_path_factory: pytest.TempPathFactory) -> CompareOrder:
    """A model with random weights, and one that was trained a little."""
    torch.manual_seed(0)
    metadata = trained_metadata = Bundle.load(trained[0] / "bundle").metadata
    module = networks.create("squeezenet")
    folder = tmp_path_factory.mktemp("judges") / "random"
    bundle.save(folder, module.state_dict(), metadata.model_copy(update={"name": "random", "threshold": 0.5}))
    assert trained_metadata.network == "squeezenet"
    return CompareOrder(champion=folder, candidate=trained[0] / "bundle", images=labelled(tree, checked), device="cpu")


def test_two_models_are_measured_on_the_same_images(judges: CompareOrder, tmp_path: Path) -> None:
    result = succeed(tmp_path / "work", judges)
    assert (result["images"], result["patients"], result["benign"], result["malignant"]) == (8, 8, 4, 4)
    right = {who: result["confusion"][who]["tn"] + result["confusion"][who]["tp"] for who in ("champion", "candidate")}
    both, only_champion, only_candidate = (
        result[key] for key in ("both_right", "only_champion_right", "only_candidate_right")
    )
    assert right == {"champion": both + only_champion, "candidate": both + only_candidate}
    assert both + only_champion + only_candidate + result["both_wrong"] == 8
    by_name = {one["measure"]: one for one in result["measures"]}
    assert set(by_name) == {
        "balanced_accuracy", "auc", "accuracy", "sensitivity", "specificity", "patient_score", "ece", "brier",
        "share_auc",
    }  # fmt: skip
    accuracy = by_name["accuracy"]
    assert (accuracy["champion"], accuracy["candidate"]) == (right["champion"] / 8, right["candidate"] / 8)
    assert accuracy["difference"]["value"] == pytest.approx(accuracy["candidate"] - accuracy["champion"])
    assert accuracy["difference"]["low"] <= accuracy["difference"]["value"] <= accuracy["difference"]["high"]


def test_a_comparison_goes_on_and_ends_the_same(judges: CompareOrder, tmp_path: Path) -> None:
    expected = succeed(tmp_path / "work", judges)
    kept = tmp_path / "work" / "judged.jsonl"
    lines = kept.read_bytes()
    kept.write_bytes(lines[: len(lines) // 2])  # killed in the middle of a line
    outcome, told = do(tmp_path / "work", judges)
    assert isinstance(outcome, Succeeded)
    assert outcome.result == expected
    assert kept.read_bytes() == lines
    assert next(event.done for event in told if isinstance(event, Progress)) == lines[: len(lines) // 2].count(b"\n")


def test_images_of_one_class_leave_measures_out(judges: CompareOrder, tmp_path: Path) -> None:
    some = tuple(image for image in judges.images if image.label == "malignant")
    result = succeed(tmp_path / "work", judges.model_copy(update={"images": some}))
    by_name = {one["measure"]: one for one in result["measures"]}
    for name in ("auc", "share_auc", "specificity", "balanced_accuracy"):
        assert all(by_name[name][key] is None for key in ("champion", "candidate", "difference", "candidate_better"))
    assert by_name["sensitivity"]["champion"] == result["confusion"]["champion"]["tp"] / 4
    assert result["benign"] == 0


def test_a_comparison_without_its_images_fails(judges: CompareOrder, tmp_path: Path) -> None:
    nothing = judges.model_copy(update={"images": ()})
    assert fail(tmp_path / "work", nothing).code == "data_set_problems"
    one = judges.images[0]
    gone = judges.model_copy(update={"images": (one.model_copy(update={"path": tmp_path / "images" / "gone.png"}),)})
    failed = fail(tmp_path / "gone", gone)
    assert failed.code == "file_gone"
    assert failed.message.startswith("gone.png is missing.")
    other = judges.model_copy(update={"images": (one.model_copy(update={"sha256": "0" * 64}),)})
    assert fail(tmp_path / "other", other).code == "data_changed"
    nobody = judges.model_copy(update={"champion": tmp_path / "nowhere"})
    assert fail(tmp_path / "nobody", nobody).code == "bad_bundle"
