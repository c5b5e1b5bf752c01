"""The verdicts of two classes under every threshold on the malignant share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from trainer.evaluation.out_of_fold import OutOfFoldPredictions

THRESHOLDS = np.linspace(0, 0.995, 200).round(3)
"""The thresholds that `scan` tries."""


class ConfusionCounts(NamedTuple):
    """The numbers of true negatives, false positives, false negatives and true positives; malignant is positive."""

    tn: int
    fp: int
    fn: int
    tp: int

    @property
    def sensitivity(self) -> float:
        """The accuracy on the malignant images."""
        return self.tp / (self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """The accuracy on the benign images."""
        return self.tn / (self.tn + self.fp)

    @property
    def balanced_accuracy(self) -> float:
        """The mean of sensitivity and specificity."""
        return (self.sensitivity + self.specificity) / 2


def count(predictions: OutOfFoldPredictions, threshold: float) -> ConfusionCounts:
    """Count the pooled out-of-fold verdicts under one threshold for all folds."""
    called, malignant = predictions.scores.malignant_share > threshold, predictions.labels == 1
    return ConfusionCounts(
        int((~called & ~malignant).sum()),
        int((called & ~malignant).sum()),
        int((~called & malignant).sum()),
        int((called & malignant).sum()),
    )


def scan(predictions: OutOfFoldPredictions) -> Iterator[tuple[float, ConfusionCounts]]:
    """Yield each of `THRESHOLDS` with the counts under it."""
    for threshold in THRESHOLDS.tolist():
        yield threshold, count(predictions, threshold)
