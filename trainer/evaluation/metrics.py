"""Metrics of a binary model, with bootstrap intervals over patients."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MEASURES = {
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "patient_score": "patient score",
    "ece": "ECE",
    "brier": "Brier score",
    "share_auc": "AUC of the votes",
}
"""The names of the metrics for readers, by the metric's name, in the order in which they are shown."""

LOWER_IS_BETTER = frozenset({"ece", "brier"})
"""The metrics of which a lower value is better."""

_BINS = 10
_DRAWS = 2000
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """The value of a metric with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Metrics:
    """The metrics of one set of predictions.

    Attributes:
        predictions: The number of predictions: one per image and repeat.
        patients: The number of patients.
        measures: The metrics by name. `accuracy`, `balanced_accuracy`, `sensitivity`, `specificity` and
            `patient_score` rate the verdicts; `auc` rates the ranking by mean logit, `share_auc` the ranking by
            malignant share; `ece` and `brier` rate the probabilities.
        confusion: The numbers of predictions by truth and verdict: `tn`, `fp`, `fn`, `tp`.
    """

    predictions: int
    patients: int
    measures: dict[str, Estimate]
    confusion: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics as plain data, rounded to four digits, for a bundle's metadata."""
        measures = {
            name: {key: round(number, 4) for key, number in asdict(estimate).items()}
            for name, estimate in self.measures.items()
        }
        return {"predictions": self.predictions, "patients": self.patients, **measures, "confusion": self.confusion}


@dataclass(frozen=True)
class Predictions:
    """The predictions of a binary model with the true labels; all arrays have the shape (images,).

    Attributes:
        labels: 1 for malignant, 0 for benign.
        patients: The patient of each image.
        shares: The malignant share of each image.
        thresholds: The malignant share above which each verdict is malignant.
        logits: The mean over the patches of the malignant logit minus the benign logit.
        probabilities: The calibrated probability of malignancy.
    """

    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    shares: Floats
    thresholds: Floats
    logits: Floats
    probabilities: Floats

    def __post_init__(self) -> None:
        if len({array.shape for array in vars(self).values()}) != 1:
            raise ValueError("All arrays of the predictions must have the same length.")

    @property
    def verdicts(self) -> NDArray[np.bool_]:
        """The verdicts: True for malignant."""
        return self.shares > self.thresholds


def evaluate(predictions: Predictions, *, draws: int = _DRAWS, seed: int = 0) -> Metrics:
    """Compute the metrics of predictions, with 95 % bootstrap intervals.

    The bootstrap draws patients with replacement, each with all images, and separately for benign and malignant ones,
    so that every sample contains both classes.

    Args:
        predictions: Predictions for images of both classes.
        draws: Number of bootstrap samples.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: If all images are of one class.
    """
    if set(np.unique(predictions.labels)) != {0, 1}:
        raise ValueError("The metrics need images of both classes.")
    labels, patients = predictions.labels, predictions.patients
    values = measures(np.ones((1, labels.size)), predictions)
    samples = measures(draw_patients(labels, patients, draws, seed), predictions)
    return Metrics(
        predictions=int(labels.size),
        patients=int(np.unique(patients).size),
        measures={name: estimate(float(value[0]), samples[name]) for name, value in values.items()},
        confusion=confusion(predictions),
    )


def confusion(predictions: Predictions) -> dict[str, int]:
    """Count the predictions by truth and verdict: `tn`, `fp`, `fn`, `tp`."""
    truth, verdicts = predictions.labels == 1, predictions.verdicts
    return {
        "tn": int((~truth & ~verdicts).sum()),
        "fp": int((~truth & verdicts).sum()),
        "fn": int((truth & ~verdicts).sum()),
        "tp": int((truth & verdicts).sum()),
    }


def estimate(value: float, samples: Floats) -> Estimate:
    """Return a value with the 95 % interval of its bootstrap samples, of shape (draws,)."""
    low, high = np.percentile(samples, _INTERVAL)
    return Estimate(value, float(low), float(high))


def draw_patients(labels: NDArray[np.int64], patients: NDArray[np.str_], draws: int, seed: int) -> Floats:
    """Draw patients with replacement, separately for each class, so that every sample contains every class.

    A patient with images of two classes is drawn for each of them separately.

    Args:
        labels: Class numbers, of shape (images,).
        patients: The patient of each image, of shape (images,).
        draws: Number of bootstrap samples.
        seed: Seed of the random numbers.

    Returns:
        The number of times that each image occurs in each sample, of shape (draws, images).
    """
    random = np.random.default_rng(seed)
    weights = np.zeros((draws, labels.size))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        _, index = np.unique(patients[members], return_inverse=True)
        count = int(index.max()) + 1
        weights[:, members] = random.multinomial(count, np.full(count, 1 / count), size=draws)[:, index]
    return weights


def measures(weights: Floats, predictions: Predictions) -> dict[str, Floats]:
    """Compute every metric of `Metrics` for every row of image weights.

    Args:
        weights: The number of times that each image counts, of shape (draws, images).
        predictions: The predictions for the images.

    Returns:
        Arrays of shape (draws,), by the metric's name; NaN where a metric needs a class whose images do not count.
    """
    truth = (predictions.labels == 1).astype(float)
    right = (predictions.verdicts == (predictions.labels == 1)).astype(float)
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, as intended
        sensitivity = weights @ (right * truth) / (weights @ truth)
        specificity = weights @ (right * (1 - truth)) / (weights @ (1 - truth))
    return {
        "accuracy": weights @ right / total,
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "auc": _auc(weights, truth, predictions.logits),
        "share_auc": _auc(weights, truth, predictions.shares),
        "patient_score": patient_score(weights, right, predictions.patients),
        "ece": calibration_error(weights, truth, predictions.probabilities),
        "brier": weights @ (predictions.probabilities - truth) ** 2 / total,
    }


def _auc(weights: Floats, truth: Floats, scores: Floats) -> Floats:
    """Return the probability that a malignant image ranks above a benign one; ties count half."""
    order = np.argsort(scores, kind="stable")
    _, first_of_rank = np.unique(scores[order], return_index=True)
    malignant = np.add.reduceat((weights * truth)[:, order], first_of_rank, axis=1)
    benign = np.add.reduceat((weights * (1 - truth))[:, order], first_of_rank, axis=1)
    below = np.cumsum(benign, axis=1) - benign
    wins = (malignant * (below + benign / 2)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        area: Floats = wins / (malignant.sum(axis=1) * benign.sum(axis=1))
    return area


def patient_score(weights: Floats, right: Floats, patients: NDArray[np.str_]) -> Floats:
    """Return the mean over patients of the share of their images with a correct verdict.

    Args:
        weights: The number of times that each image counts, of shape (draws, images).
        right: 1 where the verdict is correct, else 0, of shape (images,).
        patients: The patient of each image, of shape (images,).

    Returns:
        The patient score of each row of weights, of shape (draws,).
    """
    _, index = np.unique(patients, return_inverse=True)
    # A patient who is drawn twice counts twice, whatever the number of images.
    each = weights / np.bincount(index)[index]
    score: Floats = each @ right / each.sum(axis=1)
    return score


def calibration_error(weights: Floats, truth: Floats, probabilities: Floats) -> Floats:
    """Return the expected calibration error: the weighted gap between mean probability and frequency in ten equal bins.

    Args:
        weights: The number of times that each image counts, of shape (draws, images).
        truth: 1 where the predicted event is true, else 0, of shape (images,).
        probabilities: The predicted probabilities from 0 to 1, of shape (images,).

    Returns:
        The error of each row of weights, of shape (draws,).
    """
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    in_bin = np.eye(_BINS)[bins]
    gap = np.abs((weights * (truth - probabilities)) @ in_bin)
    error: Floats = gap.sum(axis=1) / weights.sum(axis=1)
    return error
