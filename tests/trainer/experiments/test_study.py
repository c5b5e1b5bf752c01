"""A study: the same folds for all, nothing computed twice, and the same results whatever ended it meanwhile."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import confusion_matrix

from classifier.grid import PatchGrid
from classifier.networks import WeightsUnavailableError
from testing.data_sets import SMALL, write_sample, write_small_tree
from testing.options import GRID
from trainer import report
from trainer.__main__ import main
from trainer.data.records import DataSetError
from trainer.data.splits import hold_out
from trainer.errors import OptionsError
from trainer.evaluation.results import load
from trainer.experiments import training_data
from trainer.experiments.study import PlannedCandidate, Study, plan, study
from trainer.fitting.fitters import FrozenFitter
from trainer.fitting.hardware import Hardware
from trainer.options import THESIS, FitOptions
from trainer.utils.lock import locked

pytestmark = pytest.mark.usefixtures("torch_started")

QUICK = FitOptions(grid=GRID, folds=2, epochs=2, draws=1, batch_size=8, seed=3)
CPU = Hardware("cpu")
PATCHES = len(GRID.boxes(width=SMALL[0], height=SMALL[1]))


def planned(*entries: str, **changes: Any) -> list[PlannedCandidate]:
    return plan(entries, QUICK.replace(**changes))


def run(tree: Path, out: Path, candidates: Sequence[PlannedCandidate], **options: Any) -> Study:
    return study(tree, out, candidates, CPU, cache=out.parent / "cache", **options)


@pytest.fixture(scope="module")
def both(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return run(tree, tmp_path_factory.mktemp("study") / "out", planned("efficientnet_lite0", "squeezenet"))


def test_every_candidate_sees_the_same_folds(both: Study) -> None:
    results = both.results
    assert [candidate.name for candidate in results.candidates] == ["efficientnet_lite0 frozen", "squeezenet scratch"]
    for candidate in results.candidates:
        assert [fold.name for fold in candidate.folds] == [split.name for split in results.splits]
        tested = [set(results.patients[fold.images]) for fold in candidate.folds]
        assert not tested[0] & tested[1]
        assert sorted(image for fold in candidate.folds for image in fold.images) == list(range(8))
    assert results.candidates[0].folds[0].images == results.candidates[1].folds[0].images
    assert results.synthetic and not results.leaks
    assert results.candidates[1].parameters > 700_000
    assert both.run.seconds.keys() == {candidate.name for candidate in results.candidates}


def test_numbers_agree_with_one_another(both: Study) -> None:
    for candidate in both.results.candidates:
        found = both.results.out_of_fold(candidate)
        for fold in candidate.folds:
            assert np.sum(fold.patch_confusion) == PATCHES * len(fold.images)
            assert np.trace(fold.patch_confusion) == pytest.approx(fold.test.accuracy * PATCHES * len(fold.images))
        votes = np.round(found.scores.malignant_share * PATCHES).astype(int)
        calls = np.concatenate([np.repeat([1, 0], [vote, PATCHES - vote]) for vote in votes])
        pooled = sum(np.array(fold.patch_confusion) for fold in candidate.folds)
        np.testing.assert_array_equal(confusion_matrix(np.repeat(found.labels, PATCHES), calls), pooled)


def test_trained_networks_keep_their_curves(both: Study) -> None:
    frozen, trained = both.results.candidates
    assert all(fold.epochs == [] and fold.best_epoch is None for fold in frozen.folds)
    for fold in trained.folds:
        assert [epoch.number for epoch in fold.epochs] == [1, 2]
        assert fold.best_epoch in {1, 2}
        assert fold.validation == fold.epochs[fold.best_epoch - 1].validation


def test_results_are_read_as_they_were_written(both: Study, tree: Path, tmp_path: Path) -> None:
    again = run(tree, tmp_path / "out", planned("efficientnet_lite0"))
    results, about = load(tmp_path / "out")
    assert results == again.results
    assert about == again.run
    with pytest.raises(ValueError, match="contains no finished study"):
        load(tmp_path)
    raw = json.loads((tmp_path / "out" / "results.json").read_text())
    raw["format_version"] = 2
    (tmp_path / "out" / "results.json").write_text(json.dumps(raw))
    with pytest.raises(ValueError, match="another version"):
        load(tmp_path / "out")


@pytest.mark.slow
def test_a_second_run_computes_nothing_and_candidates_may_be_added(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tree, tmp_path / "out", planned("efficientnet_lite0"))
    more = run(tree, tmp_path / "out", planned("efficientnet_lite0", "squeezenet", epochs=1))
    # `epochs` does not matter to frozen features but is one of the options: a fold of other options is not reused.
    assert more.results.candidates[0].folds == first.results.candidates[0].folds

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(FrozenFitter, "out_of_fold", refuse)
    assert run(tree, tmp_path / "out", planned("efficientnet_lite0")).results == first.results


def test_plans_name_their_candidates() -> None:
    candidates = plan(["alexnet", "resnet18:finetune"], QUICK, rates=[0.05, 0.001, 0.01], fewer_epochs=1)
    assert [(candidate.name, candidate.purpose) for candidate in candidates] == [
        ("alexnet scratch", "comparison"),
        ("resnet18 finetune", "comparison"),
        ("alexnet scratch, rate 0.05", "rate"),
        ("alexnet scratch, rate 0.01", "rate"),
        ("alexnet scratch, epochs 1", "epochs"),
    ]
    assert candidates[2].options == candidates[0].options.replace(learning_rate=0.05)
    assert [c.name for c in plan(["vgg16"], QUICK, mode="finetune")] == ["vgg16 finetune"]


@pytest.mark.parametrize(
    ("entries", "options", "words"),
    [
        (["nonet"], {}, "There is no network 'nonet'"),
        (["resnet18:warm"], {}, "no mode 'warm'"),
        (["resnet18", "resnet18"], {}, "is listed twice"),
        (["squeezenet:frozen"], {}, "SqueezeNet"),
        (["efficientnet_lite0"], {"rates": [0.1]}, "--rates and --fewer-epochs need"),
        (["resnet18"], {"rates": [-0.1]}, "is not a learning rate"),
        (["resnet18"], {"fewer_epochs": 0}, "--fewer-epochs must be 1 or more"),
        ([], {}, "at least one network"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(entries: list[str], options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        plan(entries, QUICK, **options)


def test_all_that_is_wrong_with_a_plan_is_said_at_once() -> None:
    with pytest.raises(OptionsError) as caught:
        plan(["nonet", "resnet18:warm", "squeezenet:frozen"], QUICK.replace(magnification="41X"))
    assert len(caught.value.problems) == 5


def test_weights_that_cannot_be_had_are_known_before_any_training(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(WeightsUnavailableError, match="resnet18"):
        run(tree, tmp_path / "out", planned("squeezenet", "resnet18:finetune"))
    assert not (tmp_path / "out").exists()


def test_the_thesis_protocol_is_marked_as_leaking(tmp_path: Path) -> None:
    write_small_tree(tmp_path / "tree", patients=2, images=4)
    options = THESIS.replace(grid=GRID, folds=2, epochs=1, draws=1, batch_size=8)
    results = run(tmp_path / "tree", tmp_path / "out", plan(["squeezenet"], options)).results
    assert results.leaks
    assert any(split.shared_patients for split in results.splits)
    assert any("new patients" in note for note in results.notes)


def subtypes(tmp_path: Path, counts: dict[str, int]) -> Path:
    lines = ["path,label,patient,subtype,magnification"]
    for number, (subtype, patients) in enumerate(counts.items()):
        label = "malignant" if "carcinoma" in subtype else "benign"
        for patient in range(patients):
            write_sample(tmp_path / f"{subtype}{patient}.png", label, 10 * number + patient)
            lines.append(f"{subtype}{patient}.png,{label},{subtype[:6]}{patient},{subtype},40X")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_tumour_types_are_told_apart(tmp_path: Path) -> None:
    data = subtypes(tmp_path, {"adenosis": 2, "fibroadenoma": 2, "ductal_carcinoma": 2})
    candidates = planned("efficientnet_lite0", "squeezenet", task="subtype", folds=2)
    with pytest.raises(DataSetError, match="too few patients are left to hold some out"):
        run(data, tmp_path / "out", candidates)
    results = run(data, tmp_path / "out", candidates[:1]).results
    assert len(results.classes) == 8
    assert np.array(results.candidates[0].folds[0].shares).shape[1] == 8
    assert any("adenosis 2" in note for note in results.notes)


def test_a_type_with_one_patient_is_a_sentence_and_can_be_left_out(tmp_path: Path) -> None:
    data = subtypes(tmp_path, {"adenosis": 1, "fibroadenoma": 3, "ductal_carcinoma": 3})
    candidates = planned("efficientnet_lite0", task="subtype")
    with pytest.raises(DataSetError, match=r"only 1 adenosis.*--without"):
        run(data, tmp_path / "out", candidates)
    results = run(data, tmp_path / "out", candidates, without=["adenosis"]).results
    assert len(results.images) == 6
    assert "1 images of adenosis are left out, as asked." in results.notes
    with pytest.raises(DataSetError, match="adenosi is not a subtype"):
        run(data, tmp_path / "out", candidates, without=["adenosi"])


def test_everything_wrong_with_data_and_protocol_is_said_at_once(small: Path, tmp_path: Path) -> None:
    (small / "benign00.png").write_bytes(b"no image")
    (small / "benign10.png").unlink()
    with pytest.raises(DataSetError) as caught:
        run(small, tmp_path / "out", planned("efficientnet_lite0", folds=5))
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    for words in ("benign00.png cannot be used", "benign10.png is missing", "5 folds need 5 patients"):
        assert words in text


def test_images_smaller_than_a_patch_are_a_sentence(small: Path, tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="240x230: smaller than a patch of 300 pixels"):
        run(small, tmp_path / "out", planned("efficientnet_lite0", grid=PatchGrid(size=300, stride=100)))


@pytest.mark.slow
def test_all_magnifications_together(small: Path, tmp_path: Path) -> None:
    candidates = planned("efficientnet_lite0", "squeezenet", magnification="all", crops=True, epochs=1)
    results = run(small, tmp_path / "out", candidates).results
    assert results.magnifications == ["40X", "100X"]
    assert len(results.images) == 17


def test_seeds_are_averaged(tree: Path, tmp_path: Path) -> None:
    alone = [
        run(tree, tmp_path / f"{seed}", planned("squeezenet", seed=seed, epochs=1)).results.candidates[0]
        for seed in (3, 4)
    ]
    together = run(tree, tmp_path / "both", planned("squeezenet", seeds=2, epochs=1)).results.candidates[0]
    # The folds are drawn by the first seed: those of seed 4 alone are others, so only seed 3's curves can be compared.
    assert together.folds[0].epochs == alone[0].folds[0].epochs
    assert together.folds[0].logits != alone[0].folds[0].logits


def test_a_corrected_subtype_is_another_study(tmp_path: Path) -> None:
    data = subtypes(tmp_path, {"adenosis": 2, "fibroadenoma": 3, "ductal_carcinoma": 2})
    candidates = planned("efficientnet_lite0", task="subtype", protocol="lopo")
    before = run(data, tmp_path / "out", candidates).results
    manifest = (data / "manifest.csv").read_text()
    (data / "manifest.csv").write_text(manifest.replace("fibroa2,fibroadenoma", "fibroa2,adenosis"))
    after = run(data, tmp_path / "out", candidates).results
    assert after.data["fingerprint"] == before.data["fingerprint"]  # of pixels, labels and patients alone
    assert after.candidates[0].folds != before.candidates[0].folds


@pytest.mark.slow
def test_a_candidate_that_diverges_does_not_end_the_study(tree: Path, tmp_path: Path) -> None:
    candidates = plan(["efficientnet_lite0", "squeezenet"], QUICK.replace(optimiser="sgd"), rates=[1e30])
    done = run(tree, tmp_path / "out", candidates)
    report.write(tmp_path / "out", done.results, done.run, find_image=lambda _: None)
    page = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "squeezenet scratch, rate 1e+30 diverged in training" in page
    assert np.isnan(load(tmp_path / "out")[0].candidates[2].folds[0].logits).all()


def test_one_process_at_a_time_works_in_a_folder(tree: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "out"), pytest.raises(ValueError, match="Another process is using"):
        run(tree, tmp_path / "out", planned("efficientnet_lite0"))


def test_every_repeat_is_checked_before_any_training(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def note(_data: Any, split: Any, *, seed: int) -> Any:
        seen.append(split.name)
        return hold_out(_data, split, seed=seed)

    monkeypatch.setattr(training_data, "hold_out", note)
    training_data.read_training_data(tree, QUICK.replace(mode="scratch", repeats=2), cache=tmp_path / "cache")
    assert len(seen) == 4


@pytest.mark.slow
def test_a_tree_with_breakhis_names_works_without_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full names of the data set, all magnifications, slides of one case, and case 13412 filed twice."""
    names = [
        f"SOB_{code}-14-{case}{slide}-{magnification}-{number:03}.png"
        for code, cases in {"B_A": (1, 2, 3), "B_F": (4, 5), "M_DC": (6, 7, 8), "M_PC": (9, 10)}.items()
        for case in cases
        for slide, magnification, number in [("AB", 40, 1), ("CD", 40, 2), ("AB", 100, 1)]
    ]
    for seed, name in enumerate([*names, "SOB_M_DC-14-13412-40-001.png"]):
        label = "benign" if name[4] == "B" else "malignant"
        write_sample(tmp_path / "breast" / label / "SOB" / name, label, seed)
    twice = next(tmp_path.rglob("SOB_M_DC-14-13412-40-001.png"))
    shutil.copy(twice, twice.with_name("SOB_M_LC-14-13412-40-001.png"))
    monkeypatch.setenv("PATCHVOTE_DATA", str(tmp_path / "var"))
    arguments = ["study", "--data", str(tmp_path / "breast"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    results, _ = load(tmp_path / "out")
    assert results.magnifications == ["40X"]
    assert len(results.images) == 21
    assert len(set(results.patients)) == 11
    assert "patient 14-13412" in done.stdout
    assert (tmp_path / "out" / "report.html").stat().st_size > 50_000
