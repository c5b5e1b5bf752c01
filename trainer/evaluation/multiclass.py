"""How good a model of many classes is: measures of images and patients, with intervals that resample patients."""

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
    """What was said of some images, and the truth.

    Attributes:
        labels: Class numbers, of shape (images,).
        patients: Whose image each is, of shape (images,).
        shares: Of the votes for each class, of shape (images, classes).
        logits: Mean over the patches, of shape (images, classes).
        probabilities: Calibrated, of shape (images, classes).
    """

    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    shares: Floats
    logits: Floats
    probabilities: Floats

    def __post_init__(self) -> None:
        if not self.labels.size:
            raise ValueError("There is no prediction to measure.")
        if len({len(array) for array in vars(self).values()}) != 1:
            raise ValueError("All arrays of the predictions must have the same length.")

    @property
    def verdicts(self) -> NDArray[np.int64]:
        """See `plurality`."""
        return plurality(self.shares, self.logits)


@dataclass(frozen=True)
class ClassMetrics:
    """The measures of one set of predictions.

    Attributes:
        predictions: Number of images, each counted in every repeat.
        patients: Number of patients.
        measures: By name: `accuracy`, `balanced_accuracy` (the mean recall of the classes that are present) and
            `patient_score` of the verdicts; `ece` of the likeliest class's probability.
        recall: Of each class, in their order: the share of its images that were found; None where it has none.
        precision: Of each class: the share of its verdicts that were right; None where it was never said.
        confusion: Predictions by truth (rows) and verdict (columns), of shape (classes, classes).
    """

    predictions: int
    patients: int
    measures: dict[str, Estimate]
    recall: tuple[Estimate | None, ...]
    precision: tuple[Estimate | None, ...]
    confusion: NDArray[np.int64]


def plurality(shares: Floats, logits: Floats) -> NDArray[np.int64]:
    """The class with the most votes of each image; the mean logit decides between equals.

    Args:
        shares: Of the votes for each class, of shape (images, classes).
        logits: Mean over the patches, of shape (images, classes).

    Returns:
        Class numbers, of shape (images,).
    """
    most = np.isclose(shares, shares.max(axis=1, keepdims=True))
    verdicts: NDArray[np.int64] = np.where(most, logits, -np.inf).argmax(axis=1)
    return verdicts


def evaluate(predictions: ClassPredictions, *, draws: int = _DRAWS, seed: int = 0) -> ClassMetrics:
    """Measure predictions, with 95 % bootstrap intervals; see `trainer.evaluation.metrics.draw_patients`.

    Args:
        predictions: Of images of any of the classes.
        draws: Number of bootstrap samples.
        seed: Of the bootstrap.
    """
    labels, patients = predictions.labels, predictions.patients
    once, drawn = np.ones((1, labels.size)), draw_patients(labels, patients, draws, seed)
    values, samples = measures(once, predictions), measures(drawn, predictions)
    return ClassMetrics(
        predictions=int(labels.size),
        patients=int(np.unique(patients).size),
        measures={name: estimate(float(value[0]), samples[name]) for name, value in values.items()},
        recall=_of_classes(_recall(once, predictions), _recall(drawn, predictions)),
        precision=_of_classes(_precision(once, predictions), _precision(drawn, predictions)),
        confusion=confusion_matrix(labels, predictions.verdicts, labels=range(predictions.shares.shape[1])),
    )


def measures(weights: Floats, predictions: ClassPredictions) -> dict[str, Floats]:
    """Every measure of `ClassMetrics.measures` under every row of image weights.

    Args:
        weights: How often each image counts, of shape (draws, images).
        predictions: Of the images.

    Returns:
        By the measure's name, of shape (draws,).
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
    """Of every class under every row of weights: (draws, classes)."""
    return _ratios(weights, predictions, predictions.labels)


def _precision(weights: Floats, predictions: ClassPredictions) -> Floats:
    return _ratios(weights, predictions, predictions.verdicts)


def _ratios(weights: Floats, predictions: ClassPredictions, group: NDArray[np.int64]) -> Floats:
    """The share of right verdicts in each group of images, not a number where a group is empty."""
    member = np.eye(predictions.shares.shape[1])[group]
    right = (predictions.verdicts == predictions.labels)[:, None]
    with np.errstate(invalid="ignore"):
        ratios: Floats = (weights @ (member * right)) / (weights @ member)
    return ratios


def _of_classes(values: Floats, samples: Floats) -> tuple[Estimate | None, ...]:
    """Estimates of each class from values (1, classes) and samples (draws, classes), without what is no number."""
    return tuple(
        None if np.isnan(value) else _without_gaps(float(value), column)
        for value, column in zip(values[0], samples.T, strict=True)
    )


def _without_gaps(value: float, samples: Floats) -> Estimate:
    # A class that is rarely said is never said in some draws: its precision is unknown there.
    known = samples[~np.isnan(samples)]
    return estimate(value, known if known.size else np.array([value]))
