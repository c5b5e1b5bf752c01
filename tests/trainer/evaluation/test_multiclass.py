"""Measures of many classes against scikit-learn and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as reference

from testing.data_sets import rng
from trainer.evaluation.multiclass import ClassPredictions, evaluate, plurality

CLASSES = 4


def invented(patients: int = 24, images: int = 5, seed: int = 0) -> ClassPredictions:
    """Predictions of three of four classes: the last has no image, but is sometimes said."""
    random = rng(seed)
    names = np.repeat([f"p{number:02}" for number in range(patients)], images)
    labels = np.repeat(np.arange(patients) % (CLASSES - 1), images)
    logits = 1.5 * np.eye(CLASSES)[labels] + np.repeat(random.normal(0, 1, (patients, CLASSES)), images, axis=0)
    votes = np.array([random.multinomial(15, p) for p in softmax(logits, axis=1)])
    return ClassPredictions(labels, names, votes / 15, logits, softmax(logits, axis=1))


def test_measures_are_those_of_scikit_learn() -> None:
    said = invented()
    found = evaluate(said, draws=50)
    assert found.measures["accuracy"].value == pytest.approx((said.verdicts == said.labels).mean())
    recalls = reference.recall_score(said.labels, said.verdicts, labels=range(CLASSES), average=None, zero_division=0)
    precisions = reference.precision_score(
        said.labels, said.verdicts, labels=range(CLASSES), average=None, zero_division=0
    )
    assert found.measures["balanced_accuracy"].value == pytest.approx(recalls[:-1].mean())
    assert [one and one.value for one in found.recall] == [*map(pytest.approx, recalls[:-1].tolist()), None]
    assert [one.value if one else 0 for one in found.precision] == pytest.approx(precisions.tolist())
    assert (found.confusion == reference.confusion_matrix(said.labels, said.verdicts, labels=range(CLASSES))).all()
    assert (found.predictions, found.patients) == (120, 24)


def test_the_patient_score_is_a_mean_over_patients() -> None:
    said = invented()
    right = said.verdicts == said.labels
    expected = np.mean([right[said.patients == name].mean() for name in np.unique(said.patients)])
    assert evaluate(said, draws=2).measures["patient_score"].value == pytest.approx(expected)


def test_the_calibration_error_is_that_of_the_likeliest_class() -> None:
    said = invented()
    sure, right = said.probabilities.max(axis=1), said.probabilities.argmax(axis=1) == said.labels
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = (sure >= low) & (sure < low + 0.1)
        if inside.any():
            expected += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
    assert evaluate(said, draws=2).measures["ece"].value == pytest.approx(expected)


def test_most_votes_win_and_the_mean_logit_decides_between_equals() -> None:
    shares = np.array([[0.6, 0.4, 0.0], [0.4, 0.4, 0.2], [1 / 3, 1 / 3, 1 / 3]])
    logits = np.array([[-5.0, 9.0, 0.0], [0.1, 0.2, 9.0], [0.0, 0.0, 1.0]])
    assert plurality(shares, logits).tolist() == [0, 1, 2]


def test_intervals_hold_the_value_and_are_repeatable() -> None:
    said = invented()
    first = evaluate(said, seed=3)
    assert first.measures == evaluate(said, seed=3).measures
    for name in ("accuracy", "balanced_accuracy", "patient_score"):
        estimate = first.measures[name]
        assert estimate.low < estimate.value < estimate.high


def test_a_patient_with_two_classes_and_a_class_with_one_patient() -> None:
    said = invented(patients=3, images=4)
    both = replace(said, patients=np.array(["a"] * 6 + ["b"] * 6))
    found = evaluate(both)
    assert found.patients == 2
    assert all(np.isfinite([one.low, one.value, one.high]).all() for one in found.measures.values())
    assert all(one is None or np.isfinite([one.low, one.high]).all() for one in (*found.recall, *found.precision))


def test_a_class_that_is_never_said_has_no_precision() -> None:
    said = invented()
    shares = said.shares.copy()
    shares[:, -1] = 0
    assert evaluate(replace(said, shares=shares), draws=10).precision[-1] is None


def test_nothing_cannot_be_measured() -> None:
    said = invented()
    with pytest.raises(ValueError, match="at least one prediction"):
        ClassPredictions(*(array[:0] for array in vars(said).values()))
    with pytest.raises(ValueError, match="same length"):
        replace(said, labels=said.labels[1:])
