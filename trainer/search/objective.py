"""The score of a trial: one number for its out-of-fold predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.utils.class_weight import compute_sample_weight

from trainer.data.datasets import ImageDataset
from trainer.data.splits import Split
from trainer.evaluation.calibration import fit_temperature, least_log_loss
from trainer.evaluation.out_of_fold import join_scores
from trainer.schemas import FoldResult
from trainer.search.results import Objective

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TrialScore:
    """The score of one trial; see `trainer.search.results.Trial`."""

    objective: float
    temperature: float = 1.0
    diverged: bool = False


def score_predictions(objective: Objective, labels: NDArray[np.int64], logits: Floats) -> float:
    """Compute the objective of out-of-fold predictions.

    `log_loss` is the mean cross-entropy at the best temperature with equal weight for every class, so that the most
    frequent class does not decide. Patients do not get equal weight: where some have only one or two images, these
    few images would decide, and that led to bad choices (see docs/experiments.md). The temperature is part of the
    objective because each model gets one anyway; without it, heads would be chosen for the scale of their logits. One
    number for all images can hardly overfit. The log loss is smooth, and a confident error costs more than a doubtful
    one; with a dozen patients per class, `auc` moves in steps and hardly distinguishes good options.

    Args:
        objective: The objective.
        labels: Class numbers, of shape (images,).
        logits: Logits, of shape (images, classes).
    """
    if objective == "auc":
        return float(roc_auc_score(labels, logits[:, 1] - logits[:, 0]))
    return least_log_loss(labels, logits, compute_sample_weight("balanced", labels) / labels.size)


def score_folds(
    objective: Objective, data: ImageDataset, splits: Sequence[Split], folds: Sequence[FoldResult]
) -> TrialScore:
    """Score the pooled test predictions of all splits; non-finite logits get the worst score."""
    logits = join_scores(folds).logits
    if not np.isfinite(logits).all():
        return worst_score(objective, len(data.task.classes))
    tested = np.concatenate([split.test for split in splits])
    # With eight tumour types, the only patient of a type may be tested: no options could have learnt that type.
    learnt = np.concatenate([np.isin(data.labels[split.test], data.labels[split.train]) for split in splits])
    labels, logits = data.labels[tested[learnt]], logits[learnt]
    return TrialScore(score_predictions(objective, labels, logits), fit_temperature(labels, logits))


def worst_score(objective: Objective, classes: int) -> TrialScore:
    """Return the score of a trial that diverged: the log loss of a uniform prediction, or an AUC of 0."""
    return TrialScore(float(np.log(classes)) if objective == "log_loss" else 0.0, diverged=True)
