"""The search for options: nested, honest, and begun with the base options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution

from testing.data_sets import listed, many
from testing.searches import BASE, TRAINED, Fake, run
from trainer.data.datasets import ImageDataset
from trainer.data.splits import Split, make_splits
from trainer.evaluation.out_of_fold import OutOfFoldPredictions
from trainer.fitting.fitters import TrainingData
from trainer.options import FitOptions

pytestmark = pytest.mark.usefixtures("blank_plots")


def test_no_tested_patient_is_seen_inside_a_search(fake: Fake, tmp_path: Path) -> None:
    fitter = fake()
    found = run(tmp_path)
    main = fitter.data.main
    outer = make_splits(main, "patient", folds=3)
    for split in outer:
        tested = set(main.patients[split.test])
        inside = [one for one, _ in fitter.seen if one.name.startswith(f"{split.name}, inner ")]
        assert len(inside) == 6 * 3
        for one in inside:
            assert not tested & set(main.patients[np.concatenate([one.train, one.test])])
            assert not set(main.patients[one.train]) & set(main.patients[one.test])
        assert set(np.concatenate([one.test for one in inside])) == set(split.train)
    # Each outer split is fitted twice: with the base options, and with those that its own search chose.
    for split, searched in zip(outer, found.results.splits, strict=True):
        options = [options for seen, options in fitter.seen if seen.name == split.name]
        assert options == [BASE, BASE.replace(**searched.best.values)]
    assert found.results.honest is not None
    assert found.results.honest.predictions == len(main)


def test_other_magnifications_of_patients_set_aside_stay_outside() -> None:
    main, extra = many(4, 2), listed(("benign", "b0", 1), ("benign", "b1", 1), ("benign", "nobody", 1))
    renamed = tuple(replace(image, sha256=f"100X {image.sha256}") for image in extra.images)
    data = TrainingData(main, ImageDataset(renamed))
    outer = next(split for split in make_splits(main, "lopo") if split.name == "patient b0")
    inner = Split("inner", outer.train[main.patients[outer.train] != "b1"], np.flatnonzero(main.patients == "b1"))
    assert set(data.everything.patients[data.extend(outer).train]) >= {"b1", "nobody"}
    seen = set(data.everything.patients[data.extend(inner).train])
    assert "nobody" in seen
    assert not seen & {"b0", "b1"}


@pytest.mark.slow
def test_it_finds_what_is_there_and_begins_with_the_base(fake: Fake, tmp_path: Path) -> None:
    fake()
    found = run(tmp_path, trials=20).results
    for one in found.searches:
        assert one.trials[0].values["c"] == BASE.c
        assert abs(np.log10(one.best.values["c"]) + 3) < 1
        assert one.best.objective == one.best_so_far[-1] <= one.trials[0].objective
    assert found.honest is not None
    assert found.honest.searched["auc"].value > found.honest.base["auc"].value
    assert FitOptions.model_validate_json((tmp_path / "best.json").read_text()) == found.best
    assert found.best == BASE.replace(**found.final.best.values)


def test_the_base_options_are_measured_as_everywhere(fake: Fake, tmp_path: Path) -> None:
    fitter = fake()
    found = run(tmp_path, trials=1).results
    splits = make_splits(fitter.data.main, "patient", folds=3)
    folds = [fitter.out_of_fold(split) for split in splits]
    metrics = OutOfFoldPredictions.of_folds(fitter.data.main, splits, folds).metrics(BASE.threshold_rule)
    assert found.honest is not None
    assert found.honest.base == metrics.measures
    # One trial alone: the base options themselves, at another temperature.
    assert found.honest.difference["balanced_accuracy"].value == 0


@pytest.mark.slow
def test_a_trial_that_diverges_counts_and_is_never_chosen(fake: Fake, tmp_path: Path) -> None:
    fake()
    found = run(tmp_path, TRAINED, trials=7).results
    rates = [trial for one in found.searches for trial in one.trials if trial.values["learning_rate"] > 1e-2]
    assert rates
    assert all(trial.diverged and trial.objective == pytest.approx(np.log(2)) for trial in rates)
    assert not any(one.best.diverged for one in found.searches)
    assert (tmp_path / "folds").is_dir()
    space = {"learning_rate": FloatDistribution(2e-2, 3e-2)}
    with pytest.raises(ValueError, match="every trial diverged"):
        run(tmp_path / "all", TRAINED, space=space, trials=2, nested=False)


@pytest.mark.slow
def test_optuna_says_nothing_by_itself(fake: Fake, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fake()
    run(tmp_path, trials=2)
    assert capfd.readouterr() == ("", "")
    run(tmp_path, progress=True)
    assert "all images: 100%" in capfd.readouterr().err
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR
