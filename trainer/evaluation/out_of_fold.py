"""Out-of-fold predictions, and the threshold, temperature and unbiased metrics that follow from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from trainer.choices import ThresholdRule
from trainer.data.datasets import ImageDataset
from trainer.data.splits import Split
from trainer.evaluation import calibration
from trainer.evaluation.metrics import Metrics, Predictions, evaluate
from trainer.evaluation.multiclass import ClassPredictions
from trainer.schemas import Epoch, FoldResult, PatchMetrics

if TYPE_CHECKING:
    from torch import nn

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ImageScores:
    """The votes and logits of the patches, summarised for each image.

    Attributes:
        shares: The share of votes for each class, of shape (images, classes).
        logits: The mean logits over the patches, of shape (images, classes).
    """

    shares: Floats
    logits: Floats

    @classmethod
    def of_patches(cls, logits: Floats, image: NDArray[np.intp]) -> ImageScores:
        """Summarise the logits of patches.

        Args:
            logits: Logits of the patches, of shape (patches, classes).
            image: Number of each patch's image, of shape (patches,); the numbers start at 0 without gaps.
        """
        counts = np.bincount(image)[:, None]
        votes = np.eye(logits.shape[1])[patch_votes(logits)]
        return cls(_sum_by(votes, image) / counts, _sum_by(logits, image) / counts)

    @property
    def malignant_share(self) -> Floats:
        """The share of votes for the second of two classes, of shape (images,)."""
        return self.shares[:, 1]

    @property
    def margin(self) -> Floats:
        """The second logit of two classes minus the first, of shape (images,)."""
        return self.logits[:, 1] - self.logits[:, 0]


def patch_votes(logits: Floats) -> NDArray[np.intp]:
    """Return the class that each patch votes for; on a tie the first, so that a probability of one half is benign."""
    votes: NDArray[np.intp] = logits.argmax(axis=1)
    return votes


def _sum_by(values: Floats, image: NDArray[np.intp]) -> Floats:
    sums = np.zeros((int(image.max()) + 1, values.shape[1]))
    np.add.at(sums, image, values)
    return sums


Watcher = Callable[[Epoch], None]
"""A function that is called with each epoch when it ends."""


class Fitter(Protocol):
    """The interface of a fitter: fits models for the folds, and one model on all images."""

    def out_of_fold(self, split: Split, *, work: Path | None = None, watch: Watcher | None = None) -> FoldResult:
        """Fit on the split's training images and score its test images, in their order.

        Args:
            split: The split.
            work: Folder for the state of the training, from which an interrupted training resumes; None stores none.
            watch: Called with each epoch; never called for a head on frozen features, which has no epochs.
        """
        ...

    def final(
        self, folds: Sequence[FoldResult], *, work: Path | None = None, watch: Watcher | None = None
    ) -> nn.Module:
        """Fit on all images and return the network on the CPU.

        Args:
            folds: The results of the folds, which determine the number of epochs.
            work: As in `out_of_fold`.
            watch: As in `out_of_fold`.
        """
        ...


@dataclass(frozen=True)
class OutOfFoldPredictions:
    """The predictions for images by models that were not trained on the same patients.

    If the protocol leaks, the models were trained on other images of the same patients.

    Attributes:
        image: The index of each prediction's image, of shape (predictions,).
        labels: The class numbers (1 for malignant, 0 for benign), of shape (predictions,).
        patients: The patient of each prediction's image, of shape (predictions,).
        fold: The number of the split that each prediction comes from, of shape (predictions,).
        repeat: The number of the repeat that each prediction comes from, of shape (predictions,).
        scores: The shares of votes and mean logits of the predictions.
    """

    image: NDArray[np.intp]
    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    fold: NDArray[np.intp]
    repeat: NDArray[np.intp]
    scores: ImageScores

    @classmethod
    def of_folds(cls, data: ImageDataset, splits: Sequence[Split], folds: Sequence[FoldResult]) -> OutOfFoldPredictions:
        """Join the results of the folds.

        Args:
            data: The images that the splits index.
            splits: The splits.
            folds: The result of each split, in the same order.
        """
        tested = np.concatenate([split.test for split in splits])
        sizes = [split.test.size for split in splits]
        return cls(
            image=tested,
            labels=data.labels[tested],
            patients=data.patients[tested],
            fold=np.repeat(np.arange(len(splits)), sizes),
            repeat=np.repeat([split.repeat for split in splits], sizes),
            scores=join_scores(folds),
        )

    def threshold(self, rule: ThresholdRule) -> float:
        """Choose the threshold of a model for new patients, on all predictions."""
        return calibration.choose_threshold(self.labels, self.scores.malignant_share, rule)

    def temperature(self) -> float:
        """Fit the temperature of a model for new patients, on all predictions."""
        return calibration.fit_temperature(self.labels, self.scores.logits)

    def predictions(self, rule: ThresholdRule) -> Predictions:
        """Return the predictions of a binary task, each fold with the threshold and temperature of the other folds."""
        thresholds = np.zeros(self.labels.size)
        for here, others in self._folds_and_others():
            thresholds[here] = calibration.choose_threshold(
                self.labels[others], self.scores.malignant_share[others], rule
            )
        return Predictions(
            labels=self.labels,
            patients=self.patients,
            shares=self.scores.malignant_share,
            thresholds=thresholds,
            logits=self.scores.margin,
            probabilities=self.probabilities()[:, 1],
        )

    def class_predictions(self) -> ClassPredictions:
        """Return the predictions of a task with any number of classes; each fold is calibrated on the other folds."""
        return ClassPredictions(
            self.labels, self.patients, self.scores.shares, self.scores.logits, self.probabilities()
        )

    def probabilities(self) -> Floats:
        """Return the probabilities, calibrated on the other folds, of shape (predictions, classes)."""
        result = np.zeros_like(self.scores.logits)
        for here, others in self._folds_and_others():
            temperature = calibration.fit_temperature(self.labels[others], self.scores.logits[others])
            result[here] = calibration.probabilities(self.scores.logits[here], temperature)
        return result

    def metrics(self, rule: ThresholdRule) -> Metrics:
        """Compute the metrics of a binary task; see `predictions`."""
        return evaluate(self.predictions(rule))

    def _folds_and_others(self) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Yield for each fold the mask of its predictions, and of those of its repeat's other folds on other images."""
        for fold in np.unique(self.fold):
            here = self.fold == fold
            others = (self.repeat == self.repeat[here][0]) & ~np.isin(self.image, self.image[here])
            yield here, others


def join_scores(folds: Sequence[FoldResult]) -> ImageScores:
    """Concatenate the scores of all folds' test images."""
    return ImageScores(
        np.concatenate([np.array(fold.shares) for fold in folds]),
        np.concatenate([np.array(fold.logits) for fold in folds]),
    )


def fold_result(
    name: str,
    test: NDArray[np.intp],
    labels: NDArray[np.int64],
    logits: Sequence[Floats],
    **others: Any,
) -> FoldResult:
    """Compute the result of a fold from the logits of its test patches.

    Args:
        name: Name of the split.
        test: Indices of the test images.
        labels: Class numbers of the test images.
        logits: Logits of each test image's patches, each of shape (patches, classes).
        others: The remaining fields of `FoldResult`.
    """
    sizes = [len(part) for part in logits]
    patches, truth = np.concatenate(logits), np.repeat(labels, sizes)
    scores = ImageScores.of_patches(patches, np.repeat(np.arange(len(sizes)), sizes))
    confusion = np.zeros((patches.shape[1], patches.shape[1]), dtype=int)
    np.add.at(confusion, (truth, patch_votes(patches)), 1)
    return FoldResult(
        name=name,
        images=test.tolist(),
        shares=scores.shares.tolist(),
        logits=scores.logits.tolist(),
        patch_confusion=confusion.tolist(),
        test=patch_metrics(patches, truth),
        **others,
    )


def diverged_fold(split: Split, classes: int) -> FoldResult:
    """Return the result of a fold whose training diverged: all logits are NaN."""
    unknown = PatchMetrics(accuracy=math.nan, loss=math.nan)
    nan_rows = [[math.nan] * classes] * split.test.size
    return FoldResult(
        name=split.name,
        images=split.test.tolist(),
        shares=nan_rows,
        logits=nan_rows,
        patch_confusion=[[0] * classes] * classes,
        training=unknown,
        test=unknown,
    )


def patch_metrics(logits: Floats, labels: NDArray[np.int64]) -> PatchMetrics:
    """Return the accuracy and the mean cross-entropy of patches.

    Args:
        logits: Logits of the patches, of shape (patches, classes).
        labels: Class numbers of the patches, of shape (patches,).
    """
    own = logits[np.arange(labels.size), labels]
    return PatchMetrics(
        accuracy=float((patch_votes(logits) == labels).mean()), loss=float((logsumexp(logits, axis=1) - own).mean())
    )
