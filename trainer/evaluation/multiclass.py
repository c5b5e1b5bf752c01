"""Metrics of a model of many classes, with bootstrap intervals over patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from trainer.evaluation.metrics import Estimate, calibration_error, draw_patients, estimate, patient_score

Floats = NDArray[np.float64]

_DRAWS = 2000


@dataclass(frozen=True)
class ClassPredictions:
    """The predictions of a model of many classes with the true labels.

    Attributes:
        labels: The class numbers, of shape (images,).
        patients: The patient of each image, of shape (images,).
        shares: The share of votes for each class, of shape (images, classes).
        logits: The mean logits over the patches, of shape (images, classes).
        probabilities: The calibrated probabilities, of shape (images, classes).
    """

    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    shares: Floats
    logits: Floats
    probabilities: Floats

    def __post_init__(self) -> None:
        if not self.labels.size:
            raise ValueError("The metrics need at least one prediction.")
        if len({len(array) for array in vars(self).values()}) != 1:
            raise ValueError("All arrays of the predictions must have the same length.")

    @property
    def verdicts(self) -> NDArray[np.int64]:
        """The class numbers of the verdicts, of shape (images,); see `plurality`."""
        return plurality(self.shares, self.logits)


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one set of predictions.

    Attributes:
        predictions: The number of predictions: one per image and repeat.
        patients: The number of patients.
        measures: The metrics by name. `accuracy`, `balanced_accuracy` (the mean recall of the classes that occur) and
            `patient_score` rate the verdicts; `ece` rates the probability of the likeliest class.
        recall: The recall of each class, in class order; None for a class without images.
        precision: The precision of each class, in class order; None for a class without verdicts.
        confusion: The numbers of predictions by truth (rows) and verdict (columns), of shape (classes, classes).
    """

    predictions: int
    patients: int
    measures: dict[str, Estimate]
    recall: tuple[Estimate | None, ...]
    precision: tuple[Estimate | None, ...]
    confusion: NDArray[np.int64]


def plurality(shares: Floats, logits: Floats) -> NDArray[np.int64]:
    """Return the class with the most votes of each image; the mean logit breaks ties.

    Args:
        shares: The share of votes for each class, of shape (images, classes).
        logits: The mean logits over the patches, of shape (images, classes).

    Returns:
        Class numbers, of shape (images,).
    """
    most = np.isclose(shares, shares.max(axis=1, keepdims=True))
    verdicts: NDArray[np.int64] = np.where(most, logits, -np.inf).argmax(axis=1)
    return verdicts


def evaluate(predictions: ClassPredictions, *, draws: int = _DRAWS, seed: int = 0) -> ClassMetrics:
    """Compute the metrics of predictions, with 95 % bootstrap intervals; see `metrics.draw_patients`.

    Args:
        predictions: Predictions for images of any of the classes.
        draws: Number of bootstrap samples.
        seed: Seed of the bootstrap.
    """
    labels, patients = predictions.labels, predictions.patients
    once, drawn = np.ones((1, labels.size)), draw_patients(labels, patients, draws, seed)
    values, samples = measures(once, predictions), measures(drawn, predictions)
    return ClassMetrics(
        predictions=int(labels.size),
        patients=int(np.unique(patients).size),
        measures={name: estimate(float(value[0]), samples[name]) for name, value in values.items()},
        recall=_estimates(_recall(once, predictions), _recall(drawn, predictions)),
        precision=_estimates(_precision(once, predictions), _precision(drawn, predictions)),
        confusion=confusion_matrix(labels, predictions.verdicts, labels=range(predictions.shares.shape[1])),
    )


def measures(weights: Floats, predictions: ClassPredictions) -> dict[str, Floats]:
    """Compute every metric of `ClassMetrics.measures` for every row of image weights.

    Args:
        weights: The number of times that each image counts, of shape (draws, images).
        predictions: The predictions for the images.

    Returns:
        Arrays of shape (draws,), by the metric's name.
    """
    right = (predictions.verdicts == predictions.labels).astype(float)
    likeliest = predictions.probabilities.argmax(axis=1)
    present = np.unique(predictions.labels)
    return {
        "accuracy": weights @ right / weights.sum(axis=1),
        "balanced_accuracy": _recall(weights, predictions)[:, present].mean(axis=1),
        "patient_score": patient_score(weights, right, predictions.patients),
        "ece": calibration_error(
            weights, (likeliest == predictions.labels).astype(float), predictions.probabilities.max(axis=1)
        ),
    }


def _recall(weights: Floats, predictions: ClassPredictions) -> Floats:
    """Return the recall of every class for every row of weights, of shape (draws, classes)."""
    return _ratios(weights, predictions, predictions.labels)


def _precision(weights: Floats, predictions: ClassPredictions) -> Floats:
    return _ratios(weights, predictions, predictions.verdicts)


def _ratios(weights: Floats, predictions: ClassPredictions, group: NDArray[np.int64]) -> Floats:
    """Return the share of correct verdicts in each group of images; NaN for an empty group."""
    member = np.eye(predictions.shares.shape[1])[group]
    right = (predictions.verdicts == predictions.labels)[:, None]
    with np.errstate(invalid="ignore"):
        ratios: Floats = (weights @ (member * right)) / (weights @ member)
    return ratios


def _estimates(values: Floats, samples: Floats) -> tuple[Estimate | None, ...]:
    """Return an estimate per class from values (1, classes) and samples (draws, classes); None instead of NaN."""
    return tuple(
        None if np.isnan(value) else _estimate_without_nan(float(value), column)
        for value, column in zip(values[0], samples.T, strict=True)
    )


def _estimate_without_nan(value: float, samples: Floats) -> Estimate:
    # A class with few verdicts has none in some samples, where its precision is undefined.
    known = samples[~np.isnan(samples)]
    return estimate(value, known if known.size else np.array([value]))
