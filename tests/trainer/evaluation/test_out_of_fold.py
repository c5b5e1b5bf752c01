"""Out-of-fold predictions: honest by construction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from testing.data_sets import many, rng
from trainer.data.datasets import ImageDataset
from trainer.data.splits import Split, make_splits
from trainer.evaluation.calibration import choose_threshold
from trainer.evaluation.out_of_fold import ImageScores, OutOfFoldPredictions, fold_result
from trainer.schemas import FoldResult, PatchMetrics


@dataclass
class Oracle:
    """Scores each image by its label and some noise, and keeps what it was asked."""

    data: ImageDataset
    noise: float = 0.5
    asked: list[Split] = field(default_factory=list)

    def out_of_fold(self, split: Split, **_: object) -> FoldResult:
        self.asked.append(split)
        random = rng(int(split.test.sum()))
        labels = self.data.labels[split.test]
        margins = 2.0 * labels - 1 + random.normal(0, self.noise, labels.size)
        patches = [two(margin + random.normal(0, self.noise, 15)) for margin in margins]
        return fold_result(split.name, split.test, labels, patches, training=PatchMetrics(accuracy=1, loss=0))


def two(margins: Any) -> Any:
    """Logits of two classes with these differences."""
    return np.stack([-np.asarray(margins) / 2, np.asarray(margins) / 2], axis=-1)


def cross_validate(oracle: Oracle, data: ImageDataset, splits: list[Split]) -> OutOfFoldPredictions:
    return OutOfFoldPredictions.of_folds(data, splits, [oracle.out_of_fold(split) for split in splits])


def test_patches_vote() -> None:
    scores = ImageScores.of_patches(two([-1.0, 2.0, 3.0, 0.0, -5.0]), np.array([0, 0, 0, 1, 1]))
    np.testing.assert_allclose(scores.malignant_share, [2 / 3, 0])
    np.testing.assert_allclose(scores.margin, [4 / 3, -2.5])


def test_patches_vote_for_one_of_many() -> None:
    logits = np.array([[0.0, 2, 1], [5, 1, 1], [0, 1, 3], [0, 0, 0]])
    scores = ImageScores.of_patches(logits, np.array([0, 0, 0, 1]))
    np.testing.assert_allclose(scores.shares, np.array([[1 / 3, 1 / 3, 1 / 3], [1, 0, 0]]))
    np.testing.assert_allclose(scores.logits[0], [5 / 3, 4 / 3, 5 / 3])


def test_a_fold_counts_its_patches() -> None:
    patches = [two([-1.0, 2.0, 3.0]), two([0.0, -5.0])]
    fold = fold_result("f", np.array([7, 3]), np.array([1, 0]), patches, training=PatchMetrics(accuracy=1, loss=0))
    assert fold.images == [7, 3]
    assert fold.patch_confusion == [[2, 0], [1, 2]]
    assert fold.test.accuracy == pytest.approx(4 / 5)
    losses = [np.log1p(np.exp(x)) for x in (1.0, -2.0, -3.0, 0.0, -5.0)]
    assert fold.test.loss == pytest.approx(np.mean(losses))
    assert FoldResult.model_validate_json(fold.model_dump_json()) == fold


@pytest.mark.parametrize("repeats", [1, 3])
def test_each_prediction_knows_its_image_and_fold(repeats: int) -> None:
    data = many()
    oracle = Oracle(data, noise=0)
    predictions = cross_validate(oracle, data, make_splits(data, folds=5, repeats=repeats))
    assert len(oracle.asked) == 5 * repeats
    np.testing.assert_array_equal(predictions.scores.margin > 0, predictions.labels == 1)
    np.testing.assert_array_equal(data.patients[predictions.image], predictions.patients)
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


def folds_that_disagree() -> OutOfFoldPredictions:
    """In fold 1 all shares are shifted up: only a threshold chosen on fold 1 itself could part them."""
    labels = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    shares = np.array([0.1, 0.1, 0.4, 0.4, 0.6, 0.6, 0.9, 0.9])
    return OutOfFoldPredictions(
        image=np.arange(8),
        labels=labels,
        patients=np.array(list("abcdefgh")),
        fold=np.repeat([0, 1], 4),
        repeat=np.zeros(8, int),
        scores=ImageScores(np.stack([1 - shares, shares], axis=1), two((shares - 0.5) * 4)),
    )


def test_a_folds_threshold_never_sees_the_fold() -> None:
    predictions = folds_that_disagree()
    others = choose_threshold(predictions.labels[4:], predictions.scores.malignant_share[4:])
    assert others > 0.6  # so fold 0 is benign throughout, and fold 1 malignant
    assert predictions.metrics("balanced_accuracy").confusion == {"tn": 2, "fp": 2, "fn": 2, "tp": 2}


def test_the_models_own_threshold_sees_all_folds() -> None:
    predictions = folds_that_disagree()
    assert predictions.threshold("balanced_accuracy") == choose_threshold(
        predictions.labels, predictions.scores.malignant_share
    )
    assert predictions.threshold("thesis") == 0.9
    assert predictions.temperature() > 0


def test_an_image_tested_twice_does_not_choose_its_own_threshold() -> None:
    """As in the official lists: folds that share test images, without repeats."""
    shared = folds_that_disagree()
    twice = replace(shared, image=np.array([0, 1, 2, 3, 0, 1, 4, 5]))
    # Fold 1 is judged by the images of fold 0 that it does not test itself: both malignant, so nothing to choose by.
    with pytest.raises(ValueError, match="both classes"):
        twice.metrics("balanced_accuracy")


def test_probabilities_of_many_classes_sum_to_one() -> None:
    random = rng()
    labels = np.arange(40) % 4
    logits = random.normal(0, 1, (40, 4)) + 3 * np.eye(4)[labels]
    found = OutOfFoldPredictions(
        image=np.arange(40), labels=labels, patients=np.array([f"p{i}" for i in range(40)]),
        fold=np.arange(40) // 10, repeat=np.zeros(40, int), scores=ImageScores(np.eye(4)[labels], logits),
    ).probabilities()  # fmt: skip
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == labels).mean() > 0.8
