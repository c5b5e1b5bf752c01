"""Out-of-fold predictions, and what follows from them: threshold, temperature and honest metrics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from classifier.votes import VOTE_THRESHOLD
from trainer import calibration
from trainer.calibration import ThresholdRule
from trainer.datasets import DataSet
from trainer.metrics import Metrics, Predictions, evaluate
from trainer.splits import Split

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ImageScores:
    """What the patches of some images said.

    Attributes:
        shares: Of malignant votes, of shape (images,).
        logits: Mean over the patches of malignant minus benign logit, of shape (images,).
    """

    shares: Floats
    logits: Floats

    @classmethod
    def of_patches(cls, logits: Floats, image: NDArray[np.intp]) -> ImageScores:
        """Count patches.

        Args:
            logits: Malignant minus benign, of shape (patches,).
            image: Number of each patch's image, of shape (patches,), from 0 without gaps.
        """
        counts = np.bincount(image)
        # A probability above one half is a logit above its own: zero.
        votes = logits > np.log(VOTE_THRESHOLD / (1 - VOTE_THRESHOLD))
        return cls(np.bincount(image, votes) / counts, np.bincount(image, logits) / counts)


class Fitter(Protocol):
    """A way to make a model, as cross-validation uses it."""

    def out_of_fold(self, split: Split) -> ImageScores:
        """Fit on the split's training images and score its test images, in their order."""
        ...


@dataclass(frozen=True)
class OutOfFold:
    """Predictions for images by models that had not seen their patients.

    Attributes:
        labels: 1 for malignant, 0 for benign, of shape (predictions,).
        patients: Of shape (predictions,).
        fold: Number of the split that each prediction comes from, of shape (predictions,).
        repeat: Number of the repeat that it belongs to, of shape (predictions,).
        scores: Of the images.
    """

    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    fold: NDArray[np.intp]
    repeat: NDArray[np.intp]
    scores: ImageScores

    def threshold(self, rule: ThresholdRule) -> float:
        """Chosen on all predictions: what a model for new patients gets."""
        return calibration.choose_threshold(self.labels, self.scores.shares, rule)

    def temperature(self) -> float:
        """Fitted on all predictions: what a model for new patients gets."""
        return calibration.fit_temperature(self.labels, self.scores.logits)

    def metrics(self, rule: ThresholdRule) -> Metrics:
        """Measure the verdicts, each with a threshold and temperature chosen on the other folds' predictions."""
        thresholds, probabilities = np.zeros(self.labels.size), np.zeros(self.labels.size)
        for fold in np.unique(self.fold):
            here = self.fold == fold
            others = ~here & (self.repeat == self.repeat[here][0])
            labels = self.labels[others]
            thresholds[here] = calibration.choose_threshold(labels, self.scores.shares[others], rule)
            temperature = calibration.fit_temperature(labels, self.scores.logits[others])
            probabilities[here] = calibration.probabilities(self.scores.logits[here], temperature)
        return evaluate(
            Predictions(
                labels=self.labels,
                patients=self.patients,
                shares=self.scores.shares,
                verdicts=self.scores.shares > thresholds,
                logits=self.scores.logits,
                probabilities=probabilities,
            )
        )


def cross_validate(fitter: Fitter, data: DataSet, splits: Iterable[Split], *, progress: bool = False) -> OutOfFold:
    """Let a fitter predict every split's test images.

    Args:
        fitter: Makes the models.
        data: The images that the splits index.
        splits: From `trainer.splits.make_splits`.
        progress: Show a progress bar.
    """
    splits = list(splits)
    folds = tqdm(splits, desc="Cross-validation", unit="fold", disable=not progress)
    parts = [fitter.out_of_fold(split) for split in folds]
    tested = np.concatenate([split.test for split in splits])
    sizes = [split.test.size for split in splits]
    return OutOfFold(
        labels=data.labels[tested],
        patients=data.patients[tested],
        fold=np.repeat(np.arange(len(splits)), sizes),
        repeat=_occurrence(tested),
        scores=ImageScores(
            np.concatenate([part.shares for part in parts]), np.concatenate([part.logits for part in parts])
        ),
    )


def _occurrence(tested: NDArray[np.intp]) -> NDArray[np.intp]:
    """How often each image had been tested before: each repeat tests every image once."""
    seen: dict[int, int] = {}
    order = []
    for image in tested.tolist():
        order.append(seen.get(image, 0))
        seen[image] = order[-1] + 1
    return np.array(order, dtype=np.intp)
