"""Candidates with their verdicts and measures: what tables and figures are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from trainer.choices import ThresholdRule
from trainer.evaluation import metrics, multiclass
from trainer.evaluation.metrics import Estimate, Predictions
from trainer.evaluation.multiclass import ClassPredictions
from trainer.evaluation.out_of_fold import OutOfFold
from trainer.evaluation.results import Candidate, StudyResults

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScoredCandidate:
    """A candidate's out-of-fold predictions, measured; arrays are in the order of `found`.

    Attributes:
        candidate: The candidate.
        found: Its predictions.
        predictions: The same with what measures need, by the task's kind.
        measures: By name.
        classes: Recall and precision of each class, for more than two; else None.
    """

    candidate: Candidate
    found: OutOfFold
    predictions: Predictions | ClassPredictions
    measures: dict[str, Estimate]
    classes: multiclass.ClassMetrics | None = None

    @property
    def name(self) -> str:
        """Of the candidate."""
        return self.candidate.name

    @cached_property
    def verdicts(self) -> NDArray[np.int64]:
        """Class numbers, of shape (predictions,)."""
        return self.predictions.verdicts.astype(np.int64)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Which verdicts are, of shape (predictions,)."""
        right: NDArray[np.bool_] = self.verdicts == self.found.labels
        return right

    @cached_property
    def probabilities(self) -> Floats:
        """Calibrated, of shape (predictions, classes)."""
        if isinstance(self.predictions, ClassPredictions):
            return self.predictions.probabilities
        malignant = self.predictions.probabilities
        return np.stack([1 - malignant, malignant], axis=1)

    @property
    def thresholds(self) -> Floats | None:
        """Of the malignant share, of shape (predictions,); None for more than two classes."""
        return None if isinstance(self.predictions, ClassPredictions) else self.predictions.thresholds

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Predictions by truth (rows) and verdict (columns), of shape (classes, classes)."""
        matrix: NDArray[np.int64] = confusion_matrix(
            self.found.labels, self.verdicts, labels=range(self.probabilities.shape[1])
        )
        return matrix

    @property
    def certainty(self) -> Floats:
        """The calibrated probability of the class that was called, of shape (predictions,).

        The votes call, not the probability: where the two disagree, a verdict is less than half certain.
        """
        called: Floats = self.probabilities[np.arange(self.verdicts.size), self.verdicts.astype(int)]
        return called

    @property
    def rank(self) -> tuple[float, float]:
        """By which the best candidate is the best: balanced accuracy, then AUC (or accuracy, of many classes)."""
        second = self.measures.get("auc", self.measures["accuracy"])
        return self.measures["balanced_accuracy"].value, second.value


def score(results: StudyResults, candidate: Candidate, rule: ThresholdRule | None = None) -> ScoredCandidate:
    """Measure a candidate.

    Args:
        results: The study.
        candidate: One of its candidates.
        rule: How thresholds are chosen; the candidate's own when None.

    Raises:
        ValueError: If the candidate's logits are not numbers, or its test images are of one class alone.
    """
    found = results.out_of_fold(candidate)
    if not np.isfinite(found.scores.logits).all():
        raise ValueError(f"{candidate.name} gave logits that are not numbers: its training diverged.")
    if results.kind.binary:
        two = found.predictions(rule or candidate.options.threshold_rule)
        return ScoredCandidate(candidate, found, two, metrics.evaluate(two).measures)
    many = ClassPredictions(
        found.labels, found.patients, found.scores.shares, found.scores.logits, found.probabilities()
    )
    measured = multiclass.evaluate(many)
    return ScoredCandidate(candidate, found, many, measured.measures, measured)


def diverged(results: StudyResults, candidate: Candidate) -> bool:
    """Whether training ended in logits that are no numbers, so that there is nothing to measure."""
    return not np.isfinite(results.out_of_fold(candidate).scores.logits).all()


def best(scored: list[ScoredCandidate]) -> ScoredCandidate:
    """The first of those with the highest `rank`."""
    return max(scored, key=lambda one: one.rank)
