"""The two ways to make a model, in the shape that cross-validation uses: a head on frozen features, or fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn

from classifier import networks
from trainer.crossval import ImageScores
from trainer.datasets import DataSet, decode_pixels
from trainer.features import PatchFeatures, extract, shrink
from trainer.finetune import Epoch, PatchPool, TrainingImages, best_epoch, patch_logits, train
from trainer.heads import TrainingTable, fit_head, sample_weights
from trainer.options import FitOptions
from trainer.splits import Split, refuse_leaks

_VALIDATION_FOLDS = 5


@dataclass(frozen=True)
class TrainingData:
    """The images that a model is for, and auxiliary ones that it is trained on but never tested on.

    Attributes:
        main: The images that splits index.
        auxiliary: Images of other magnifications, possibly none.
    """

    main: DataSet
    auxiliary: DataSet

    @property
    def everything(self) -> DataSet:
        """All images: the main ones first, so that indices into them remain true."""
        return DataSet((*self.main.images, *self.auxiliary.images), self.main.synthetic or self.auxiliary.synthetic)

    @property
    def is_auxiliary(self) -> NDArray[np.bool_]:
        """Of shape (all images,)."""
        return np.arange(len(self.main) + len(self.auxiliary)) >= len(self.main)

    def extend(self, split: Split) -> Split:
        """Add to a split's training images the auxiliary ones of patients that it does not test.

        Raises:
            LeakError: If the split then trains on what it tests on.
        """
        tested = set(self.main.patients[split.test])
        extra = [
            len(self.main) + index for index, image in enumerate(self.auxiliary.images) if image.patient not in tested
        ]
        extended = Split(
            split.name,
            np.concatenate([split.train, np.array(extra, dtype=np.intp)]),
            split.test,
            leaks_patients=split.leaks_patients,
        )
        refuse_leaks(self.everything.images, extended)
        return extended


class FrozenFitter:
    """A logistic head on ImageNet features."""

    def __init__(
        self, data: TrainingData, options: FitOptions, *, device: str, cache: Path, progress: bool = False
    ) -> None:
        """Compute the features of all images, or read them from the cache.

        Raises:
            ValueError: If the network's last layer is not linear.
            WeightsUnavailableError: If the ImageNet weights cannot be had.
        """
        self._data, self._options = data, options
        self._features: PatchFeatures = extract(
            data.everything,
            options.network,
            grid=options.grid,
            cache=cache,
            device=device,
            magnification=options.magnification,
            progress=progress,
        )
        everything = data.everything
        self._table = TrainingTable(
            features=self._features.image_means(),
            labels=everything.labels,
            patients=everything.patients,
            auxiliary=data.is_auxiliary,
            auxiliary_weight=options.also_weight,
            balance=options.balance,
        )

    def out_of_fold(self, split: Split) -> ImageScores:
        """Fit on the split's training images and score its test images, in their order."""
        head = fit_head(self._table.rows(self._data.extend(split).train), c=self._options.c)
        patches = [np.flatnonzero(self._features.image == image) for image in split.test]
        logits = head.logits(self._features.values[np.concatenate(patches)])
        return ImageScores.of_patches(logits, np.repeat(np.arange(len(patches)), [len(p) for p in patches]))

    def final(self) -> nn.Module:
        """The network with a head fitted on all images, on the CPU."""
        module = networks.create(self._options.network, weights="imagenet")
        fit_head(self._table, c=self._options.c).fold_into(networks.head(module, self._options.network))
        return module


@dataclass
class FinetuneFitter:
    """A whole network, trained end to end.

    Attributes:
        histories: The epochs of every split so far, for curves and for the length of the final training.
    """

    data: TrainingData
    options: FitOptions
    device: str
    progress: bool = False
    histories: list[list[Epoch]] = field(default_factory=list)

    def __post_init__(self) -> None:
        target = self.options.magnification
        pixels = [decode_pixels(image) for image in self.data.main.images]
        pixels += [
            shrink(decode_pixels(image), image.magnification, target, self.options.grid.size)
            for image in self.data.auxiliary.images
        ]
        self._pool = PatchPool(pixels, self.options.grid, self.device)
        self._everything = self.data.everything

    def out_of_fold(self, split: Split) -> ImageScores:
        """Train on most of the split's training patients, stop by the others, and score its test images."""
        training, validation = self._hold_out(self.data.extend(split))
        module, history = train(
            self._pool, self._images(training), self.options, validation=validation, progress=self.progress
        )
        self.histories.append(history)
        logits = [patch_logits(module, self._pool, int(image), self.options) for image in split.test]
        numbers = np.repeat(np.arange(len(logits)), [len(part) for part in logits])
        return ImageScores.of_patches(np.concatenate(logits), numbers)

    def final(self) -> nn.Module:
        """The network trained on all images, for as many epochs as were best in the median split, on the CPU."""
        epochs = int(np.median([best_epoch(history) for history in self.histories]))
        everyone = np.arange(len(self._everything))
        module, _ = train(self._pool, self._images(everyone), self.options, stop_after=epochs, progress=self.progress)
        return module.cpu()

    def _images(self, index: NDArray[np.intp]) -> TrainingImages:
        labels = self._everything.labels
        weights = sample_weights(
            labels[index],
            self._everything.patients[index],
            self.data.is_auxiliary[index],
            auxiliary_weight=self.options.also_weight,
            balance=self.options.balance,
        )
        return TrainingImages(index, labels, weights)

    def _hold_out(self, split: Split) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Part the training images, by patient, into those trained on and those that stop the training."""
        main = split.train[split.train < len(self.data.main)]
        labels, patients = self.data.main.labels[main], self.data.main.patients[main]
        folds = min(_VALIDATION_FOLDS, *(len(set(patients[labels == label])) for label in (0, 1)))
        if folds < 2:  # noqa: PLR2004 (one to train on, one to stop by)
            raise ValueError(f"In {split.name}, too few patients are left to hold some out for early stopping.")
        splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=self.options.seed)
        _, held_out = next(splitter.split(labels, labels, patients))
        validation = main[held_out]
        held_out_patients = self.data.main.patients[validation]
        rest = split.train[~np.isin(self._everything.patients[split.train], held_out_patients)]
        inner = Split(f"the validation part of {split.name}", rest, validation)
        refuse_leaks(self._everything.images, inner)
        return rest, validation
