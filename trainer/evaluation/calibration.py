"""What is chosen on out-of-fold predictions: the threshold on the malignant share, and the temperature."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize_scalar
from scipy.special import expit, logsumexp, softmax

from trainer.choices import ThresholdRule

Floats = NDArray[np.float64]

NEVER = -1e6
"""Logit of a class that a model has not seen in training: no temperature is fitted to images of it."""

_THESIS_THRESHOLD = 0.90
_WANTED_SENSITIVITY = 0.95
_CANDIDATES = np.linspace(0, 0.995, 200).round(3)
# One and a half votes of fifteen: without it, one patient's images move the threshold by several votes.
_SMOOTHING = 0.1
_TEMPERATURES = (1e-3, 1e3)


def choose_threshold(labels: NDArray[np.int64], shares: Floats, rule: ThresholdRule = "balanced_accuracy") -> float:
    """Choose the share of malignant votes above which the verdict is malignant.

    Args:
        labels: 1 for malignant, 0 for benign, of shape (images,), both present.
        shares: Out-of-fold malignant shares of the same images.
        rule: See `ThresholdRule`.

    Returns:
        A threshold from 0 to below 1.

    Raises:
        ValueError: If a class has no image.
    """
    if rule == "thesis":
        return _THESIS_THRESHOLD
    if set(np.unique(labels)) != {0, 1}:
        raise ValueError("A threshold can only be chosen on images of both classes.")
    if rule == "sensitivity":
        found = _strictly_above(shares[labels == 1], _CANDIDATES)
        enough = np.flatnonzero(found >= _WANTED_SENSITIVITY)
        return float(_CANDIDATES[enough[-1]]) if enough.size else 0.0
    above = _above if rule == "balanced_accuracy" else _strictly_above
    gain = above(shares[labels == 1], _CANDIDATES) - above(shares[labels == 0], _CANDIDATES)
    return float(_CANDIDATES[np.argmax(gain)])


def _strictly_above(shares: Floats, thresholds: Floats) -> Floats:
    """The share of the images above each threshold: (thresholds,)."""
    above: Floats = (shares > thresholds[:, None]).mean(axis=1)
    return above


def _above(shares: Floats, thresholds: Floats) -> Floats:
    """How many of the shares are above each threshold, those close to it counting in part: (thresholds,)."""
    above: Floats = expit((shares[None, :] - thresholds[:, None]) / _SMOOTHING).mean(axis=1)
    return above


def fit_temperature(labels: NDArray[np.int64], logits: Floats) -> float:
    """The number that divides the logits so that their probabilities are as likely as can be.

    Args:
        labels: Class numbers of shape (images,).
        logits: Out-of-fold mean logits of the same images, of shape (images, classes).

    Returns:
        A temperature between 0.001 and 1000 times the logits' own scale.
    """
    scale = _scale(logits)
    learnt = logits[np.arange(labels.size), labels] > NEVER / 2
    count = int(learnt.sum())
    if not count:
        return scale
    return scale * float(np.exp(_best(labels[learnt], logits[learnt] / scale, np.full(count, 1 / count)).x))


def least_log_loss(labels: NDArray[np.int64], logits: Floats, weights: Floats) -> float:
    """The weighted log loss of the images at their best temperature; arrays as in `fit_temperature`."""
    return float(_best(labels, logits / _scale(logits), weights).fun)


def _scale(logits: Floats) -> float:
    """How large logits are, so that temperatures can be sought near one: heads of a tiny C have tiny logits."""
    possible = logits > NEVER / 2
    centred = logits - logits.mean(axis=1, keepdims=True, where=possible)
    return float(np.sqrt((centred**2).mean(where=possible))) or 1.0


def _best(labels: NDArray[np.int64], logits: Floats, weights: Floats) -> OptimizeResult:
    """The logarithm of the temperature with the least weighted log loss (`x`), and that loss (`fun`)."""
    own = logits[np.arange(labels.size), labels]

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return float(weights @ (logsumexp(logits / temperature, axis=1) - own / temperature))

    return minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded")


def probabilities(logits: Floats, temperature: float) -> Floats:
    """Calibrated probabilities of the classes, of the shape of `logits`: (images, classes)."""
    calibrated: Floats = softmax(logits / temperature, axis=1)
    return calibrated
