"""Orders of each kind: what they give, and how they fail."""

from __future__ import annotations

import errno
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from classifier import bundle, networks
from classifier.bundle import Bundle, image_hash, patient_hash
from classifier.grid import PatchGrid
from tests.trainer.children import do, fail, labelled, succeed
from trainer import results
from trainer.folds import Epoch, PatchFigures
from trainer.options import FitOptions
from trainer.synthetic import sample, write_tree
from trainer.work import failures
from trainer.work import train as training
from trainer.work.failures import Names, failure
from trainer.work.orders import (
    ArchiveBounds,
    BundleOrder,
    CheckOrder,
    CompareOrder,
    EpochDone,
    FoldDone,
    LabelledFile,
    Progress,
    Succeeded,
    TrainOrder,
    read_event,
    read_order,
    read_outcome,
    write_order,
)

FROZEN = FitOptions(grid=PatchGrid(size=112, stride=112), folds=2)
TRAINED = FitOptions(
    network="squeezenet", mode="scratch", grid=PatchGrid(size=64, stride=80), folds=2, epochs=2, draws=1, batch_size=8
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "tree"
    write_tree(folder, patients=4, images=1)
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def checked(tree: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return succeed(tmp_path_factory.mktemp("work") / "check", CheckOrder(source=tree, cache=cache))


@pytest.fixture(scope="module")
def trained(tree: Path, cache: Path, checked: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("work") / "train"
    order = TrainOrder(
        source=tree, fingerprint=checked["fingerprint"], name="model", options=TRAINED, cache=cache, device="cpu"
    )
    return folder, order, *do(folder, order)


def test_an_order_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = LabelledFile(path=Path("/a.png"), sha256="0", label="benign", patient="p")
    for order in (
        CheckOrder(archive=tmp_path / "a.zip", source=tmp_path, bounds=ArchiveBounds(max_ratio=3), cache=tmp_path),
        TrainOrder(source=tmp_path, name="a", options=TRAINED, cache=tmp_path),
        CompareOrder(champion=tmp_path, candidate=tmp_path, images=(file,)),
        BundleOrder(archive=tmp_path, folder=tmp_path),
    ):
        write_order(tmp_path, order)
        assert read_order(tmp_path) == order


def test_a_line_that_was_broken_off_is_no_event() -> None:
    line = Progress(stage="Reading images", done=1, total=2, fraction=0.5).model_dump_json()
    assert read_event(line) == Progress(stage="Reading images", done=1, total=2, fraction=0.5)
    assert read_event(line[:-4]) is None
    assert read_event("Downloading …") is None


# --- check ------------------------------------------------------------------------------------------------------------


def test_a_check_says_what_the_data_set_holds(checked: dict[str, Any], tree: Path) -> None:
    assert len(checked["images"]) == 8
    assert checked["synthetic"]
    assert checked["bytes"] == sum(path.stat().st_size for path in tree.rglob("*.png"))
    for image in checked["images"]:
        assert (tree / image["path"]).is_file()
        assert (image["width"], image["height"], image["magnification"]) == (700, 460, "40X")
    assert {image["label"] for image in checked["images"]} == {"benign", "malignant"}
    assert {image["subtype"] for image in checked["images"]} == {"adenosis", "ductal_carcinoma"}


def test_a_zip_is_unpacked_and_checked(tree: Path, checked: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "a"), "zip", tree.parent, tree.name)
    order = CheckOrder(archive=tmp_path / "a.zip", source=tmp_path / "images", cache=cache)
    result = succeed(tmp_path / "work", order)
    assert result["fingerprint"] == checked["fingerprint"]
    assert result["synthetic"]
    assert result == succeed(tmp_path / "again", order)  # as a second child would


def test_all_problems_of_a_data_set_are_listed(tmp_path: Path) -> None:
    source = tmp_path / "images"
    source.mkdir()
    sample("benign", 1, (240, 230)).save(source / "a.png")
    sample("malignant", 1, (100, 230)).save(source / "small.png")
    (source / "broken.png").write_bytes(b"no image")
    (tmp_path / "secret.png").write_bytes((source / "a.png").read_bytes())
    rows = [
        "a.png,benign,p1",
        "small.png,malignant,p2",
        "broken.png,malignant,p3",
        "gone.png,benign,p1",
        "a.png,evil,p",
    ]
    manifest = source / "manifest.csv"
    manifest.write_text("\n".join(["path,label,patient", *rows]))
    failed = fail(tmp_path / "work", CheckOrder(source=source, cache=tmp_path / "cache"))
    assert failed.code == "data_set_problems"
    listed = "\n".join(failed.details)
    for words in (
        "small.png cannot be used",
        "broken.png cannot be used",
        "gone.png is missing",
        "'evil' is not one of",
    ):
        assert words in listed
    for elsewhere in ("../secret.png", str(tmp_path / "secret.png"), "link.png"):
        (source / "link.png").unlink(missing_ok=True)
        (source / "link.png").symlink_to(tmp_path / "secret.png")
        manifest.write_text(f"path,label,patient\n{elsewhere},benign,p1\n")
        failed = fail(tmp_path / "work", CheckOrder(source=source, cache=tmp_path / "cache"))
        assert "lies outside of the data set" in failed.details[0]
    failed = fail(tmp_path / "work", CheckOrder(source=tmp_path / "nowhere", cache=tmp_path / "cache"))
    assert failed.details == ("the data set does not exist.",)


def test_an_archive_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../escaped.png", b"")
    order = CheckOrder(archive=tmp_path / "a.zip", source=tmp_path / "images", cache=tmp_path)
    failed = fail(tmp_path / "work", order)
    assert failed.code == "bad_archive"
    assert "escaped.png" in failed.details[0]
    assert not (tmp_path / "images").exists()


# --- train ------------------------------------------------------------------------------------------------------------


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
    assert made.metadata.threshold == predictions.threshold(TRAINED.threshold_rule)
    assert result["metrics"]["auc"]["value"] == pytest.approx(
        predictions.metrics(TRAINED.threshold_rule).measures["auc"].value, abs=1e-4
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
    monkeypatch.setattr("trainer.finetune.train", None)
    again, retold = do(folder, order)
    assert isinstance(again, Succeeded)
    assert again.result["metrics"] == outcome.result["metrics"]
    for kind in (EpochDone, FoldDone):
        assert [e for e in retold if isinstance(e, kind)] == [e for e in told if isinstance(e, kind)]
    assert files == {path: path.read_bytes() for path in (folder / "bundle").iterdir()}


def test_frozen_features_are_trained_on(tree: Path, cache: Path, tmp_path: Path) -> None:
    order = TrainOrder(source=tree, name="frozen", options=FROZEN, cache=cache, device="cpu")
    outcome, told = do(tmp_path / "work", order)
    assert isinstance(outcome, Succeeded)
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
    assert failed.message.startswith("the data set is gone.")


def test_a_file_that_vanished_is_named(small: Path, tmp_path: Path) -> None:
    work = tmp_path.parent / f"{tmp_path.name}-work"
    cache = tmp_path.parent / f"{tmp_path.name}-cache"
    checked = succeed(work / "check", CheckOrder(source=small, cache=cache))
    order = TrainOrder(source=small, fingerprint=checked["fingerprint"], name="a", options=TRAINED, cache=cache)
    (small / "benign10.png").unlink()
    failed = fail(work / "train", order)
    assert failed.code == "file_gone"
    assert failed.message.startswith("benign10.png is gone.")


def test_a_file_that_vanishes_under_way_is_named(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = shutil.copytree(tree, tmp_path / "tree")
    victim = sorted(source.rglob("*.png"))[5]
    read = training.prepare.read

    def read_then_lose(*arguments: Any, **keywords: Any) -> Any:
        data = read(*arguments, **keywords)
        victim.unlink()
        return data

    monkeypatch.setattr(training.prepare, "read", read_then_lose)
    failed = fail(
        tmp_path / "work", TrainOrder(source=source, name="a", options=TRAINED, cache=tmp_path / "cache", device="cpu")
    )
    assert failed.code == "file_gone"
    assert victim.name in failed.message


def test_a_training_that_diverges_fails(tree: Path, cache: Path, tmp_path: Path) -> None:
    wild = TRAINED.changed(optimiser="sgd", learning_rate=1e30)
    failed = fail(tmp_path / "work", TrainOrder(source=tree, name="a", options=wild, cache=cache, device="cpu"))
    assert failed.code == "diverged"
    assert "Choose a lower learning rate" in failed.message


def test_options_that_cannot_work_are_listed(tree: Path, cache: Path, tmp_path: Path) -> None:
    options = FROZEN.changed(network="resnet9000", seeds=2)
    failed = fail(tmp_path / "work", TrainOrder(source=tree, name="Ünfit", options=options, cache=cache))
    assert failed.code == "bad_options"
    assert len(failed.details) == 3
    order = json.loads((tmp_path / "work" / "order.json").read_text())
    order["options"]["epochs"] = 0
    (tmp_path / "work" / "order.json").write_text(json.dumps(order))
    with pytest.raises(ValueError, match="epochs") as caught:
        read_order(tmp_path / "work")
    assert failure(caught.value, Names({})).code == "bad_options"
    few = FROZEN.changed(folds=9)
    failed = fail(tmp_path / "few", TrainOrder(source=tree, name="a", options=few, cache=cache))
    assert failed.code == "data_set_problems"


# --- compare ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
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
    assert failed.message.startswith("gone.png is gone.")
    other = judges.model_copy(update={"images": (one.model_copy(update={"sha256": "0" * 64}),)})
    assert fail(tmp_path / "other", other).code == "data_changed"
    nobody = judges.model_copy(update={"champion": tmp_path / "nowhere"})
    assert fail(tmp_path / "nobody", nobody).code == "bad_bundle"


# --- bundle -----------------------------------------------------------------------------------------------------------


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
        ({"network": "resnet9000"}, "not known here"),
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


# --- whatever else may happen -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), "out_of_memory", "smaller batch size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), "out_of_memory", "smaller network"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory", "more memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", "Make room"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "disk_full", "Make room"),
        (networks.WeightsUnavailableError("The weights cannot be had. Connect."), "weights_unavailable", "Connect"),
        (ZeroDivisionError("division by zero in /srv/private/place/file.py"), "failed", "division by zero in file.py"),
        (KeyError(), "failed", "KeyError"),
    ],
)
def test_each_failure_has_its_code_and_sentence(error: Exception, code: str, words: str) -> None:
    failed = failure(error, Names({}))
    assert failed.code == code
    assert words in failed.message
    assert "/srv" not in failed.message


def test_paths_are_called_by_their_place_in_the_data_set() -> None:
    names = Names({Path("/srv/data"): "the folder", Path("/srv/data/sets/a b"): "the data set"})
    said = "Look at /srv/data/sets/a b/c/d.png, /srv/data/sets/a b, /srv/data/x.png and /etc/secret/keys: 3/4 of it."
    assert names.apply(said) == "Look at c/d.png, the data set, x.png and keys: 3/4 of it."


def test_an_outcome_is_there_completely_or_not_at_all(tmp_path: Path) -> None:
    assert read_outcome(tmp_path) is None
    (tmp_path / "outcome.json").write_text('{"state": "succ')
    assert read_outcome(tmp_path) is None
    assert failures.failure(ValueError("x"), Names({})).state == "failed"


def test_an_epoch_without_a_validation_is_told(tmp_path: Path) -> None:
    epoch = Epoch(number=1, training=PatchFigures(accuracy=0.5, loss=0.7))
    line = EpochDone(fold=0, folds=2, epoch=epoch).model_dump_json()
    assert read_event(line.encode()) == EpochDone(fold=0, folds=2, epoch=epoch)
