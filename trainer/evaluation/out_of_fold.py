"""Out-of-fold predictions, and what follows from them: threshold, temperature and honest metrics."""

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
from trainer.schemas import Epoch, FoldResult, PatchMetrics

if TYPE_CHECKING:
    from torch import nn

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ImageScores:
    """What the patches of some images said.

    Attributes:
        shares: Of the votes for each class, of shape (images, classes).
        logits: Mean over the patches, of shape (images, classes).
    """

    shares: Floats
    logits: Floats

    @classmethod
    def of_patches(cls, logits: Floats, image: NDArray[np.intp]) -> ImageScores:
        """Count patches.

        Args:
            logits: Of shape (patches, classes).
            image: Number of each patch's image, of shape (patches,), from 0 without gaps.
        """
        counts = np.bincount(image)[:, None]
        votes = np.eye(logits.shape[1])[calls(logits)]
        return cls(_sum_by(votes, image) / counts, _sum_by(logits, image) / counts)

    @property
    def malignant_share(self) -> Floats:
        """Of two classes, the share of votes for the second: of shape (images,)."""
        return self.shares[:, 1]

    @property
    def margin(self) -> Floats:
        """Of two classes, the second logit minus the first: of shape (images,)."""
        return self.logits[:, 1] - self.logits[:, 0]


def calls(logits: Floats) -> NDArray[np.intp]:
    """The class that each patch votes for, the first of equals, so that a probability of one half is benign."""
    votes: NDArray[np.intp] = logits.argmax(axis=1)
    return votes


def _sum_by(values: Floats, image: NDArray[np.intp]) -> Floats:
    sums = np.zeros((int(image.max()) + 1, values.shape[1]))
    np.add.at(sums, image, values)
    return sums


Watcher = Callable[[Epoch], None]
"""Is told of each epoch as it ends."""


class Fitter(Protocol):
    """A way to make a model, as cross-validation uses it."""

    def out_of_fold(self, split: Split, *, work: Path | None = None, watch: Watcher | None = None) -> FoldResult:
        """Fit on the split's training images and score its test images, in their order.

        Args:
            split: The split.
            work: Folder for the state of a training under way, from which a broken one goes on; None keeps none.
            watch: Is told of each epoch, where there are any.
        """
        ...

    def final(
        self, folds: Sequence[FoldResult], *, work: Path | None = None, watch: Watcher | None = None
    ) -> nn.Module:
        """Fit on all images, on the CPU.

        Args:
            folds: What the splits gave: they say how long to train.
            work: As above.
            watch: As above.
        """
        ...


@dataclass(frozen=True)
class OutOfFold:
    """Predictions for images by models that had not seen their patients (nor, where a protocol leaks, the images).

    Attributes:
        image: Index of each prediction's image, of shape (predictions,).
        labels: Class numbers (1 for malignant, 0 for benign), of shape (predictions,).
        patients: Of shape (predictions,).
        fold: Number of the split that each prediction comes from, of shape (predictions,).
        repeat: Number of the repeat that it belongs to, of shape (predictions,).
        scores: Of the images.
    """

    image: NDArray[np.intp]
    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    fold: NDArray[np.intp]
    repeat: NDArray[np.intp]
    scores: ImageScores

    @classmethod
    def of_folds(cls, data: ImageDataset, splits: Sequence[Split], folds: Sequence[FoldResult]) -> OutOfFold:
        """Join what the folds gave."""
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
        """Chosen on all predictions: what a model for new patients gets."""
        return calibration.choose_threshold(self.labels, self.scores.malignant_share, rule)

    def temperature(self) -> float:
        """Fitted on all predictions: what a model for new patients gets."""
        return calibration.fit_temperature(self.labels, self.scores.logits)

    def predictions(self, rule: ThresholdRule) -> Predictions:
        """Verdicts on two classes, each with a threshold and temperature chosen on the other folds' predictions."""
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

    def probabilities(self) -> Floats:
        """Calibrated on the other folds' predictions: of shape (predictions, classes)."""
        result = np.zeros_like(self.scores.logits)
        for here, others in self._folds_and_others():
            temperature = calibration.fit_temperature(self.labels[others], self.scores.logits[others])
            result[here] = calibration.probabilities(self.scores.logits[here], temperature)
        return result

    def metrics(self, rule: ThresholdRule) -> Metrics:
        """Measure the verdicts on two classes; see `predictions`."""
        return evaluate(self.predictions(rule))

    def _folds_and_others(self) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """For each fold its predictions, and those of its repeat's other folds on other images."""
        for fold in np.unique(self.fold):
            here = self.fold == fold
            others = (self.repeat == self.repeat[here][0]) & ~np.isin(self.image, self.image[here])
            yield here, others


def join_scores(folds: Sequence[FoldResult]) -> ImageScores:
    """The scores of all folds' test images, one fold after the other."""
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
    """What is known of a fold from the logits of its test patches.

    Args:
        name: Of the split.
        test: Indices of the test images.
        labels: Class numbers of the test images.
        logits: For each test image, of shape (patches, classes).
        others: The remaining fields of `FoldResult`.
    """
    sizes = [len(part) for part in logits]
    patches, truth = np.concatenate(logits), np.repeat(labels, sizes)
    scores = ImageScores.of_patches(patches, np.repeat(np.arange(len(sizes)), sizes))
    confusion = np.zeros((patches.shape[1], patches.shape[1]), dtype=int)
    np.add.at(confusion, (truth, calls(patches)), 1)
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
    """What is known of a fold whose training diverged: that its logits are no numbers."""
    nothing = PatchMetrics(accuracy=math.nan, loss=math.nan)
    nowhere = [[math.nan] * classes] * split.test.size
    return FoldResult(
        name=split.name,
        images=split.test.tolist(),
        shares=nowhere,
        logits=nowhere,
        patch_confusion=[[0] * classes] * classes,
        training=nothing,
        test=nothing,
    )


def patch_metrics(logits: Floats, labels: NDArray[np.int64]) -> PatchMetrics:
    """The share of patches that were called right, and their mean cross-entropy.

    Args:
        logits: Of shape (patches, classes).
        labels: Class numbers of shape (patches,).
    """
    own = logits[np.arange(labels.size), labels]
    return PatchMetrics(
        accuracy=float((calls(logits) == labels).mean()), loss=float((logsumexp(logits, axis=1) - own).mean())
    )
