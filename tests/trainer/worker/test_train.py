"""Training runs."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from classifier.bundle import Bundle, image_hash, patient_hash
from testing.options import FINETUNE, FROZEN
from testing.orders import do, fail, succeed
from trainer.evaluation import results
from trainer.experiments import prepare
from trainer.experiments.training_data import read_training_data
from trainer.worker.failures import Names, failure
from trainer.worker.protocol import CheckOrder, EpochDone, FoldDone, Progress, Succeeded, TrainOrder, read_order

pytestmark = pytest.mark.usefixtures("torch_started")


def test_a_run_gives_a_report_and_a_bundle_with_the_same_figures(trained: Any, tree: Path) -> None:
    folder, _, outcome, _ = trained
    assert isinstance(outcome, Succeeded)
    result = outcome.result
    made = Bundle.load(folder / result["bundle"])
    assert made.metadata.name == "model"
    assert result["metrics"] == made.metadata.metrics
    assert (folder / result["report"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    found, _ = results.load(folder)
    [candidate] = found.candidates
    predictions = found.out_of_fold(candidate)
    assert made.metadata.threshold == predictions.threshold(FINETUNE.threshold_rule)
    assert result["metrics"]["auc"]["value"] == pytest.approx(
        predictions.metrics(FINETUNE.threshold_rule).measures["auc"].value, abs=1e-4
    )
    assert result["seconds"] > 0
    assert any("synthetic" in note or "patients" in note for note in result["notes"])
    assert not list(folder.rglob("*.pt"))
    seen = made.metadata.seen
    assert seen is not None
    assert seen.images == tuple(sorted(image_hash(image.sha256) for image in found.images))
    assert seen.patients == tuple(sorted({patient_hash(image.patient) for image in found.images}))


def test_every_epoch_and_fold_is_told_and_the_fraction_only_rises(trained: Any) -> None:
    folder, _, _, told = trained
    epochs = [event for event in told if isinstance(event, EpochDone)]
    assert [(event.fold, event.epoch.number) for event in epochs] == [(f, e) for f in range(3) for e in (1, 2)][
        : len(epochs)
    ]
    assert {event.folds for event in epochs} == {2}
    assert epochs[0].epoch.validation is not None
    assert epochs[-1].fold == 2 and epochs[-1].epoch.validation is None  # the final fit has no one to ask
    folds = [event for event in told if isinstance(event, FoldDone)]
    assert [(event.fold, event.epochs) for event in folds] == [(0, 2), (1, 2)]
    found, run = results.load(folder)
    assert [event.test for event in folds] == [fold.test for fold in found.candidates[0].folds]
    assert [event.seconds for event in folds] == run.seconds["squeezenet scratch"]
    fractions = [event.fraction for event in told if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] < fractions[-1] <= 1


def test_a_second_child_computes_nothing_again_and_tells_everything_again(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, order, outcome, told = trained
    files = {path: path.read_bytes() for path in (folder / "bundle").iterdir()}
    monkeypatch.setattr("trainer.fitting.finetune.train", None)
    again, retold = do(folder, order)
    assert isinstance(again, Succeeded)
    assert again.result["metrics"] == outcome.result["metrics"]
    for kind in (EpochDone, FoldDone):
        assert [e for e in retold if isinstance(e, kind)] == [e for e in told if isinstance(e, kind)]
    assert files == {path: path.read_bytes() for path in (folder / "bundle").iterdir()}


@pytest.mark.slow
def test_frozen_features_are_trained_on(tree: Path, cache: Path, tmp_path: Path) -> None:
    order = TrainOrder(source=tree, name="frozen", options=FROZEN, cache=cache, device="cpu")
    started = time.monotonic()
    outcome, told = do(tmp_path / "work", order)
    taken = time.monotonic() - started
    assert isinstance(outcome, Succeeded)
    assert taken / 2 < outcome.result["seconds"] < taken + 0.1
    assert outcome.result["metrics"]["auc"]["value"] > 0.9
    assert [event.epochs for event in told if isinstance(event, FoldDone)] == [0, 0]
    assert not any(isinstance(event, EpochDone) for event in told)
    assert "epochs" not in Bundle.load(tmp_path / "work" / "bundle").metadata.training


def test_a_data_set_that_changed_is_not_trained_on(tree: Path, checked: Any, cache: Path, tmp_path: Path) -> None:
    source = shutil.copytree(tree, tmp_path / "tree")
    order = TrainOrder(source=source, fingerprint=checked["fingerprint"], name="a", options=FROZEN, cache=cache)
    path = sorted(source.rglob("*.png"))[3]
    Image.open(path).rotate(180).save(path)
    assert fail(tmp_path / "work", order).code == "data_changed"
    path.unlink()
    assert fail(tmp_path / "work", order).code == "data_changed"  # a tree does not say what should be there
    shutil.rmtree(source)
    failed = fail(tmp_path / "work", order)
    assert failed.code == "file_gone"
    assert failed.message.startswith("the data set is missing.")


def test_a_file_that_vanished_is_named(small: Path, tmp_path: Path) -> None:
    work = tmp_path.parent / f"{tmp_path.name}-work"
    cache = tmp_path.parent / f"{tmp_path.name}-cache"
    checked = succeed(work / "check", CheckOrder(source=small, cache=cache))
    order = TrainOrder(source=small, fingerprint=checked["fingerprint"], name="a", options=FINETUNE, cache=cache)
    (small / "benign10.png").unlink()
    failed = fail(work / "train", order)
    assert failed.code == "file_gone"
    assert failed.message.startswith("benign10.png is missing.")


def test_a_file_that_vanishes_under_way_is_named(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = shutil.copytree(tree, tmp_path / "tree")
    victim = sorted(source.rglob("*.png"))[5]

    def read_then_lose(*arguments: Any, **keywords: Any) -> Any:
        data = read_training_data(*arguments, **keywords)
        victim.unlink()
        return data

    monkeypatch.setattr(prepare, "read_training_data", read_then_lose)
    failed = fail(
        tmp_path / "work", TrainOrder(source=source, name="a", options=FINETUNE, cache=tmp_path / "cache", device="cpu")
    )
    assert failed.code == "file_gone"
    assert victim.name in failed.message


def test_a_training_that_diverges_fails(tree: Path, cache: Path, tmp_path: Path) -> None:
    wild = FINETUNE.replace(optimiser="sgd", learning_rate=1e30)
    failed = fail(tmp_path / "work", TrainOrder(source=tree, name="a", options=wild, cache=cache, device="cpu"))
    assert failed.code == "diverged"
    assert "Choose a lower learning rate" in failed.message


def test_options_that_cannot_work_are_listed(tree: Path, cache: Path, tmp_path: Path) -> None:
    options = FROZEN.replace(network="resnet9000", seeds=2)
    failed = fail(tmp_path / "work", TrainOrder(source=tree, name="Ünfit", options=options, cache=cache))
    assert failed.code == "bad_options"
    assert len(failed.details) == 3
    order = json.loads((tmp_path / "work" / "order.json").read_text())
    order["options"]["epochs"] = 0
    (tmp_path / "work" / "order.json").write_text(json.dumps(order))
    with pytest.raises(ValueError, match="epochs") as caught:
        read_order(tmp_path / "work")
    assert failure(caught.value, Names({})).code == "bad_options"
    few = FROZEN.replace(folds=9)
    failed = fail(tmp_path / "few", TrainOrder(source=tree, name="a", options=few, cache=cache))
    assert failed.code == "data_set_problems"
