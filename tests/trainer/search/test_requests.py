"""What can be searched, and what is refused before any trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from testing.data_sets import many
from testing.searches import BASE, TRAINED, Fake, run
from trainer.data.records import DataSetError
from trainer.errors import OptionsError
from trainer.options import FitOptions
from trainer.search import space_for

pytestmark = pytest.mark.usefixtures("blank_plots")


@pytest.mark.parametrize(
    ("base", "names"),
    [
        (BASE, ["c", "balance"]),
        (BASE.replace(also=("100X",)), ["c", "balance", "also_weight"]),
        (
            TRAINED,
            ["learning_rate", "weight_decay", "epochs", "schedule", "ema", "stain", "turn", "batch_size", "balance"],
        ),
    ],
)
def test_each_mode_has_its_space(base: FitOptions, names: list[str]) -> None:
    assert list(space_for(base)) == names
    assert "backbone_rate" in space_for(base.replace(mode="finetune", network="resnet18"))


def test_a_space_can_be_restricted(fake: Fake, tmp_path: Path) -> None:
    assert list(space_for(TRAINED, ["epochs", "learning_rate"])) == ["learning_rate", "epochs"]
    assert list(space_for(BASE, ["test_time_flips"])) == ["test_time_flips"]
    fitter = fake()
    found = run(tmp_path, space=space_for(BASE, ["c"]))
    assert {options.balance for _, options in fitter.seen} == {BASE.balance}
    assert all(set(trial.values) == {"c"} for one in found.results.searches for trial in one.trials)


def test_names_that_cannot_be_searched_are_all_refused() -> None:
    with pytest.raises(OptionsError) as caught:
        space_for(BASE, ["c", "learning_rate", "also_weight", "folds"])
    assert len(caught.value.problems) == 3
    assert "learning_rate cannot be searched in mode frozen. These can: c, balance" in caught.value.problems[0]
    assert "also_weight cannot be searched in mode frozen without --also" in caught.value.problems[1]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"space": {"c": FloatDistribution(0, 1)}}, "search space of c contains 0.0"),
        ({"space": {"balance": CategoricalDistribution(["class", "colour"])}}, "contains colour"),
        ({"space": {"seed": FloatDistribution(0, 1)}}, "seed cannot be searched"),
        ({"space": {"also_weight": FloatDistribution(0, 1)}}, "without --also"),
        ({"space": {}}, "nothing to search"),
        ({"trials": 0}, "at least one trial"),
        ({"inner_folds": 1}, "at least 2 folds"),
        ({"base": FitOptions(task="subtype"), "objective": "auc"}, "AUC ranks two classes"),
        ({"base": FitOptions(network="resnet9000")}, "no network 'resnet9000'"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionsError, match=words):
        run(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_too_few_patients_are_named_split_by_split_before_any_trial(fake: Fake, tmp_path: Path) -> None:
    fitter = fake(many(3, 4))
    with pytest.raises(DataSetError) as caught:
        run(tmp_path)
    assert [problem.partition(":")[0] for problem in caught.value.problems[:3]] == [
        f"Inside the training images of fold {number} of 3" for number in (1, 2, 3)
    ]
    assert "3 patients of each class" in caught.value.problems[0]
    assert "--inner-folds" in caught.value.problems[-1]
    assert not fitter.seen
    run(tmp_path, inner_folds=0)
    assert any("inner patient b0" in split.name for split, _ in fitter.seen)


def test_patients_for_early_stopping_are_asked_for_too(fake: Fake, tmp_path: Path) -> None:
    fake(many(3, 4))
    with pytest.raises(DataSetError, match=r"fold 1 of 3, inner fold 1 of 2, too few patients are left to hold some"):
        run(tmp_path, TRAINED, inner_folds=2)
