"""The choice of threshold and temperature on out-of-fold predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize_scalar
from scipy.special import expit, logsumexp, softmax

from trainer.choices import ThresholdRule

Floats = NDArray[np.float64]

UNSEEN_LOGIT = -1e6
"""The logit of a class without training images; images of that class do not take part in fitting a temperature."""

_THESIS_THRESHOLD = 0.90
_MINIMUM_SENSITIVITY = 0.95
_CANDIDATES = np.linspace(0, 0.995, 200).round(3)
# One and a half of fifteen votes. Without smoothing, the images of one patient move the threshold by several votes.
_SMOOTHING = 0.1
_TEMPERATURES = (1e-3, 1e3)


def choose_threshold(labels: NDArray[np.int64], shares: Floats, rule: ThresholdRule = "balanced_accuracy") -> float:
    """Choose the malignant share above which the verdict is malignant.

    Args:
        labels: 1 for malignant and 0 for benign, of shape (images,); both must occur.
        shares: Out-of-fold malignant shares of the same images, of shape (images,).
        rule: The rule; see `trainer.choices.ThresholdRule`.

    Returns:
        A threshold of at least 0 and less than 1.

    Raises:
        ValueError: If a class has no image.
    """
    if rule == "thesis":
        return _THESIS_THRESHOLD
    if set(np.unique(labels)) != {0, 1}:
        raise ValueError("A threshold can only be chosen on images of both classes.")
    if rule == "sensitivity":
        sensitivity = _strictly_above(shares[labels == 1], _CANDIDATES)
        enough = np.flatnonzero(sensitivity >= _MINIMUM_SENSITIVITY)
        return float(_CANDIDATES[enough[-1]]) if enough.size else 0.0
    above = _above if rule == "balanced_accuracy" else _strictly_above
    gain = above(shares[labels == 1], _CANDIDATES) - above(shares[labels == 0], _CANDIDATES)
    return float(_CANDIDATES[np.argmax(gain)])


def _strictly_above(shares: Floats, thresholds: Floats) -> Floats:
    """Return the fraction of shares above each threshold, of shape (thresholds,)."""
    above: Floats = (shares > thresholds[:, None]).mean(axis=1)
    return above


def _above(shares: Floats, thresholds: Floats) -> Floats:
    """Return the smoothed fraction of shares above each threshold; shares near a threshold count partly."""
    above: Floats = expit((shares[None, :] - thresholds[:, None]) / _SMOOTHING).mean(axis=1)
    return above


def fit_temperature(labels: NDArray[np.int64], logits: Floats) -> float:
    """Return the temperature, by which logits are divided, that minimises the log loss of the images.

    Args:
        labels: Class numbers of shape (images,).
        logits: Out-of-fold mean logits of the same images, of shape (images, classes).

    Returns:
        A temperature between 0.001 and 1000 times the logits' own scale.
    """
    scale = _scale(logits)
    learnt = logits[np.arange(labels.size), labels] > UNSEEN_LOGIT / 2
    count = int(learnt.sum())
    if not count:
        return scale
    return scale * float(np.exp(_best(labels[learnt], logits[learnt] / scale, np.full(count, 1 / count)).x))


def least_log_loss(labels: NDArray[np.int64], logits: Floats, weights: Floats) -> float:
    """Return the weighted log loss of the images at their best temperature.

    Args:
        labels: Class numbers of shape (images,).
        logits: Mean logits of the same images, of shape (images, classes).
        weights: Weight of each image, of shape (images,).
    """
    return float(_best(labels, logits / _scale(logits), weights).fun)


def _scale(logits: Floats) -> float:
    """Return the scale of the logits, which makes the temperature to search for lie near 1 even for tiny C."""
    possible = logits > UNSEEN_LOGIT / 2
    centred = logits - logits.mean(axis=1, keepdims=True, where=possible)
    return float(np.sqrt((centred**2).mean(where=possible))) or 1.0


def _best(labels: NDArray[np.int64], logits: Floats, weights: Floats) -> OptimizeResult:
    """Return the logarithm of the best temperature (`x`) and its weighted log loss (`fun`)."""
    own = logits[np.arange(labels.size), labels]

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return float(weights @ (logsumexp(logits / temperature, axis=1) - own / temperature))

    return minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded")


def probabilities(logits: Floats, temperature: float) -> Floats:
    """Return the calibrated probabilities of the classes, of shape (images, classes)."""
    calibrated: Floats = softmax(logits / temperature, axis=1)
    return calibrated
