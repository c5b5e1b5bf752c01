"""The candidates of a study with their verdicts and metrics."""

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
from trainer.evaluation.out_of_fold import OutOfFoldPredictions
from trainer.evaluation.results import Candidate, StudyResults

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScoredCandidate:
    """A candidate with its out-of-fold predictions and metrics; all arrays are in the order of `out_of_fold`.

    Attributes:
        candidate: The candidate.
        out_of_fold: The out-of-fold predictions.
        predictions: The predictions with thresholds and probabilities, by the kind of the task.
        measures: The metrics, by name.
        classes: Recall and precision of each class, for tasks with more than two classes; else None.
    """

    candidate: Candidate
    out_of_fold: OutOfFoldPredictions
    predictions: Predictions | ClassPredictions
    measures: dict[str, Estimate]
    classes: multiclass.ClassMetrics | None = None

    @property
    def name(self) -> str:
        """The name of the candidate."""
        return self.candidate.name

    @cached_property
    def verdicts(self) -> NDArray[np.int64]:
        """The class numbers of the verdicts, of shape (predictions,)."""
        return self.predictions.verdicts.astype(np.int64)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether each verdict is correct, of shape (predictions,)."""
        right: NDArray[np.bool_] = self.verdicts == self.out_of_fold.labels
        return right

    @cached_property
    def probabilities(self) -> Floats:
        """The calibrated probabilities, of shape (predictions, classes)."""
        if isinstance(self.predictions, ClassPredictions):
            return self.predictions.probabilities
        malignant = self.predictions.probabilities
        return np.stack([1 - malignant, malignant], axis=1)

    @property
    def thresholds(self) -> Floats | None:
        """The thresholds on the malignant share, of shape (predictions,); None for more than two classes."""
        return None if isinstance(self.predictions, ClassPredictions) else self.predictions.thresholds

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """The numbers of predictions by truth (rows) and verdict (columns), of shape (classes, classes)."""
        matrix: NDArray[np.int64] = confusion_matrix(
            self.out_of_fold.labels, self.verdicts, labels=range(self.probabilities.shape[1])
        )
        return matrix

    @property
    def certainty(self) -> Floats:
        """The calibrated probability of the class of the verdict, of shape (predictions,).

        The votes decide the verdict, not the probability: where the two disagree, the certainty is less than one half.
        """
        certainty: Floats = self.probabilities[np.arange(self.verdicts.size), self.verdicts.astype(int)]
        return certainty

    @property
    def rank(self) -> tuple[float, float]:
        """The key that orders candidates: balanced accuracy, then AUC (or accuracy, for more than two classes)."""
        second = self.measures.get("auc", self.measures["accuracy"])
        return self.measures["balanced_accuracy"].value, second.value


def score(results: StudyResults, candidate: Candidate, rule: ThresholdRule | None = None) -> ScoredCandidate:
    """Compute the verdicts and metrics of a candidate.

    Args:
        results: Results of the study.
        candidate: A candidate of the study.
        rule: The rule that chooses the thresholds; None means the candidate's own.

    Raises:
        ValueError: If the training of the candidate diverged, or all its test images are of one class.
    """
    out_of_fold = results.out_of_fold(candidate)
    if not np.isfinite(out_of_fold.scores.logits).all():
        raise ValueError(f"The training of {candidate.name} diverged: its logits are not finite.")
    if results.kind.binary:
        binary = out_of_fold.predictions(rule or candidate.options.threshold_rule)
        return ScoredCandidate(candidate, out_of_fold, binary, metrics.evaluate(binary).measures)
    predictions = out_of_fold.class_predictions()
    measured = multiclass.evaluate(predictions)
    return ScoredCandidate(candidate, out_of_fold, predictions, measured.measures, measured)


def diverged(results: StudyResults, candidate: Candidate) -> bool:
    """Return whether the training of a candidate diverged, so that there is nothing to measure."""
    return not np.isfinite(results.out_of_fold(candidate).scores.logits).all()


def best(scored: list[ScoredCandidate]) -> ScoredCandidate:
    """Return the candidate with the highest `rank`; the first one on a tie."""
    return max(scored, key=lambda one: one.rank)
