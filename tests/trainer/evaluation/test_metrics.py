"""Measures against scikit-learn and by hand; intervals that know patients."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from sklearn import metrics as reference

from testing.data_sets import rng
from trainer.evaluation.metrics import Predictions, evaluate


def invented(patients: int = 20, images: int = 15, seed: int = 0) -> Predictions:
    random = rng(seed)
    names = np.repeat([f"p{number:02}" for number in range(patients)], images)
    labels = np.repeat(np.arange(patients) % 2, images)
    # Images of one patient resemble each other.
    logits = 1.6 * labels - 0.8 + np.repeat(random.normal(0, 1, patients), images) + random.normal(0, 1, labels.size)
    shares = np.round(expit(logits) * 15) / 15
    thresholds = np.full(labels.size, 0.6)
    return Predictions(
        labels=labels, patients=names, shares=shares, thresholds=thresholds, logits=logits, probabilities=expit(logits)
    )


def test_measures_are_those_of_scikit_learn() -> None:
    said = invented()
    found = {name: estimate.value for name, estimate in evaluate(said).measures.items()}
    truth = said.labels
    expected = {
        "accuracy": reference.accuracy_score(truth, said.verdicts),
        "balanced_accuracy": reference.balanced_accuracy_score(truth, said.verdicts),
        "sensitivity": reference.recall_score(truth, said.verdicts),
        "specificity": reference.recall_score(truth, said.verdicts, pos_label=0),
        "auc": reference.roc_auc_score(truth, said.logits),
        "share_auc": reference.roc_auc_score(truth, said.shares),
        "brier": reference.brier_score_loss(truth, said.probabilities),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_the_confusion_counts_images() -> None:
    said = invented()
    (tn, fp), (fn, tp) = reference.confusion_matrix(said.labels, said.verdicts).tolist()
    assert evaluate(said).confusion == {"tn": tn, "fp": fp, "fn": fn, "tp": tp}


def by_hand() -> Predictions:
    return Predictions(
        labels=np.array([0, 0, 0, 1]),
        patients=np.array(["a", "a", "b", "c"]),
        shares=np.array([0.0, 1.0, 0.0, 1.0]),
        thresholds=np.full(4, 0.5),
        logits=np.array([-1.0, 1.0, -1.0, 2.0]),
        probabilities=np.array([0.1, 0.9, 0.15, 0.95]),
    )


def test_the_patient_score_is_a_mean_over_patients() -> None:
    assert evaluate(by_hand()).measures["patient_score"].value == pytest.approx((0.5 + 1 + 1) / 3)


def test_the_calibration_error_is_weighted_by_bins() -> None:
    # Bin 0.1-0.2: mean 0.125 against 0 of 2. Bin 0.9-1: mean 0.925 against 1 of 2.
    expected = (2 * 0.125 + 2 * (0.925 - 0.5)) / 4
    assert evaluate(by_hand()).measures["ece"].value == pytest.approx(expected)


def test_intervals_hold_the_value_and_are_repeatable() -> None:
    said = invented()
    first = evaluate(said, seed=3)
    assert first == evaluate(said, seed=3)
    assert first != evaluate(said, seed=4)
    for name, estimate in first.measures.items():
        if name != "ece":  # which resampling only ever raises
            assert estimate.low < estimate.value < estimate.high


def test_intervals_resample_patients_not_images() -> None:
    said = invented()
    alone = replace(said, patients=np.array([f"image {number}" for number in range(said.labels.size)]))
    by_patient = evaluate(said).measures["balanced_accuracy"]
    by_image = evaluate(alone).measures["balanced_accuracy"]
    assert by_patient.value == by_image.value
    assert by_patient.high - by_patient.low > 1.5 * (by_image.high - by_image.low)


def test_every_draw_has_both_classes() -> None:
    said = invented(patients=3, images=4)
    assert all(np.isfinite([e.low, e.high]).all() for e in evaluate(said).measures.values())


def test_two_thousand_draws_of_a_full_data_set_are_quick() -> None:
    started = time.perf_counter()
    evaluate(invented(patients=80, images=25))
    assert time.perf_counter() - started < 10


def test_as_plain_data() -> None:
    plain = evaluate(by_hand()).as_dict()
    assert (plain["predictions"], plain["patients"]) == (4, 3)
    assert set(plain["auc"]) == {"value", "low", "high"}


def test_one_class_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="images of both classes"):
        evaluate(replace(by_hand(), labels=np.zeros(4, int)))


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="same length"):
        replace(by_hand(), shares=np.zeros(3))
