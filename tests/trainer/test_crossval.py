"""Out-of-fold predictions: honest by construction."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.trainer.conftest import many, rng
from trainer.calibration import choose_threshold
from trainer.crossval import ImageScores, OutOfFold, cross_validate
from trainer.datasets import DataSet
from trainer.splits import Split, make_splits


@dataclass
class Oracle:
    """Scores each image by its label and some noise, and keeps what it was asked."""

    data: DataSet
    noise: float = 0.5
    asked: list[Split] = field(default_factory=list)

    def out_of_fold(self, split: Split) -> ImageScores:
        self.asked.append(split)
        random = rng(int(split.test.sum()))
        logits = 2.0 * self.data.labels[split.test] - 1 + random.normal(0, self.noise, split.test.size)
        return ImageScores(np.round(15 / (1 + np.exp(-logits))) / 15, logits)


def test_patches_vote() -> None:
    scores = ImageScores.of_patches(np.array([-1.0, 2.0, 3.0, 0.0, -5.0]), np.array([0, 0, 0, 1, 1]))
    np.testing.assert_allclose(scores.shares, [2 / 3, 0])
    np.testing.assert_allclose(scores.logits, [4 / 3, -2.5])


@pytest.mark.parametrize("repeats", [1, 3])
def test_each_prediction_knows_its_image_and_fold(repeats: int) -> None:
    data = many()
    oracle = Oracle(data, noise=0)
    predictions = cross_validate(oracle, data, make_splits(data, folds=5, repeats=repeats))
    assert len(oracle.asked) == 5 * repeats
    np.testing.assert_array_equal(predictions.scores.logits > 0, predictions.labels == 1)
    assert np.bincount(predictions.repeat).tolist() == [len(data)] * repeats
    for fold in np.unique(predictions.fold):
        assert len(set(predictions.repeat[predictions.fold == fold])) == 1
        assert set(predictions.patients[predictions.fold == fold]) == set(data.patients[oracle.asked[fold].test])


def test_metrics_of_a_good_model_are_good() -> None:
    data = many()
    metrics = cross_validate(Oracle(data), data, make_splits(data, "lopo")).metrics("balanced_accuracy")
    assert metrics.predictions == 60
    assert metrics.patients == 20
    assert metrics.measures["auc"].value > 0.95
    assert metrics.measures["balanced_accuracy"].value > 0.9


def folds_that_disagree() -> OutOfFold:
    """In fold 1 all shares are shifted up: only a threshold chosen on fold 1 itself could part them."""
    labels = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    shares = np.array([0.1, 0.1, 0.4, 0.4, 0.6, 0.6, 0.9, 0.9])
    return OutOfFold(
        labels=labels,
        patients=np.array(list("abcdefgh")),
        fold=np.repeat([0, 1], 4),
        repeat=np.zeros(8, int),
        scores=ImageScores(shares, (shares - 0.5) * 4),
    )


def test_a_folds_threshold_never_sees_the_fold() -> None:
    predictions = folds_that_disagree()
    others = choose_threshold(predictions.labels[4:], predictions.scores.shares[4:])
    assert others > 0.6  # so fold 0 is benign throughout, and fold 1 malignant
    assert predictions.metrics("balanced_accuracy").confusion == {"tn": 2, "fp": 2, "fn": 2, "tp": 2}


def test_the_models_own_threshold_sees_all_folds() -> None:
    predictions = folds_that_disagree()
    assert predictions.threshold("balanced_accuracy") == choose_threshold(predictions.labels, predictions.scores.shares)
    assert predictions.threshold("thesis") == 0.9
    assert predictions.temperature() > 0
