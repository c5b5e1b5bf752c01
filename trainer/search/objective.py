"""What a trial is worth: its out-of-fold predictions become one number."""

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
    """Of one trial; see `trainer.search.results.Trial`."""

    objective: float
    temperature: float = 1.0
    diverged: bool = False


def judge(objective: Objective, labels: NDArray[np.int64], logits: Floats) -> float:
    """Judge out-of-fold predictions.

    `log_loss` is the mean cross-entropy after the best temperature, every class weighing the same, so that the common
    class does not decide. Patients do not weigh the same: where some have one or two images, so few would
    decide, and that chose badly (see docs/experiments.md). The temperature belongs to it because each
    model gets one anyway, and without it a head would be chosen for the scale of its logits; one number for all images
    can hardly overfit. It is smooth, and a confident error costs more than a doubtful one: with a dozen patients of a
    class, `auc` moves in steps and hardly tells good options apart.

    Args:
        objective: Which one.
        labels: Class numbers, of shape (images,).
        logits: Of shape (images, classes).
    """
    if objective == "auc":
        return float(roc_auc_score(labels, logits[:, 1] - logits[:, 0]))
    return least_log_loss(labels, logits, compute_sample_weight("balanced", labels) / labels.size)


def judge_folds(
    objective: Objective, data: ImageDataset, splits: Sequence[Split], folds: Sequence[FoldResult]
) -> TrialScore:
    """Judge what the models of all splits said of their test images; the worst where that is no numbers."""
    logits = join_scores(folds).logits
    if not np.isfinite(logits).all():
        return worst(objective, len(data.task.classes))
    tested = np.concatenate([split.test for split in splits])
    # Of eight types one may have its only patient tested: no options could have learnt it.
    learnt = np.concatenate([np.isin(data.labels[split.test], data.labels[split.train]) for split in splits])
    labels, logits = data.labels[tested[learnt]], logits[learnt]
    return TrialScore(judge(objective, labels, logits), fit_temperature(labels, logits))


def worst(objective: Objective, classes: int) -> TrialScore:
    """Of a trial that diverged: no AUC is lower, and at the best temperature no log loss higher."""
    return TrialScore(float(np.log(classes)) if objective == "log_loss" else 0.0, diverged=True)
