"""The fitters that cross-validation uses: a head on frozen features, or a whole network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from classifier import networks
from trainer.data.datasets import ImageDataset
from trainer.data.image_cache import PixelCache
from trainer.data.splits import Split, hold_out, refuse_leaks
from trainer.evaluation.out_of_fold import Watcher, fold_result, patch_metrics
from trainer.fitting.checkpoints import Checkpoint
from trainer.fitting.features import PatchFeatures, extract, shrink
from trainer.fitting.finetune import TrainingImages, best_epoch, train
from trainer.fitting.hardware import Hardware
from trainer.fitting.heads import LinearHead, TrainingTable, fit_head, sample_weights
from trainer.fitting.patch_sampler import PatchSampler
from trainer.fitting.scoring import logits_of_images
from trainer.options import FitOptions
from trainer.schemas import Epoch, FoldResult
from trainer.utils.progress import ProgressBar, Stage


@dataclass(frozen=True)
class TrainingData:
    """The images that a model is for, and auxiliary images for training only.

    Attributes:
        main: The images that splits refer to.
        auxiliary: Images of other magnifications, and crops; may be empty. They are never used for testing.
    """

    main: ImageDataset
    auxiliary: ImageDataset

    @cached_property
    def everything(self) -> ImageDataset:
        """All images, the main ones first, so that indices into `main` stay valid."""
        return ImageDataset(
            (*self.main.images, *self.auxiliary.images),
            self.main.task,
            self.main.synthetic or self.auxiliary.synthetic,
        )

    @property
    def is_auxiliary(self) -> NDArray[np.bool_]:
        """Whether each image has another magnification and shares the auxiliary weight, of shape (all images,)."""
        own = {image.magnification for image in self.main.images}
        return np.array([image.magnification not in own for image in self.everything.images])

    def extend(self, split: Split) -> Split:
        """Add the auxiliary images of a split's training patients to its training images.

        Auxiliary images of test patients are not added, nor are those of patients that the split leaves out: a search
        within training patients uses splits that leave out the patients of the outer test.

        Raises:
            LeakError: If training and test images then overlap.
        """
        patients = self.main.patients
        withheld = set(patients[split.test]) | (set(patients) - set(patients[split.train]))
        extra = [
            len(self.main) + index for index, image in enumerate(self.auxiliary.images) if image.patient not in withheld
        ]
        extended = Split(
            split.name,
            np.concatenate([split.train, np.array(extra, dtype=np.intp)]),
            split.test,
            split.repeat,
            leaks_patients=split.leaks_patients,
        )
        refuse_leaks(self.everything.images, extended)
        return extended


class FrozenFitter:
    """A logistic head on ImageNet features."""

    def __init__(
        self,
        data: TrainingData,
        options: FitOptions,
        hardware: Hardware,
        *,
        cache: Path,
        features: PatchFeatures | None = None,
        progress: bool = False,
    ) -> None:
        """Use the given features, or compute the features of all images with the help of the cache.

        Raises:
            WeightsUnavailableError: If the ImageNet weights are not available.
        """
        self._data, self._options, self._hardware, self._cache = data, options, hardware, cache
        self._features: PatchFeatures = features or extract(
            data.everything,
            options.network,
            grid=options.grid,
            cache=cache,
            device=hardware.device,
            magnification=options.target_magnification,
            test_time_flips=options.test_time_flips,
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

    def with_options(self, options: FitOptions) -> FrozenFitter:
        """Return a fitter with other options; it reuses the features if they do not depend on the changes."""
        same = _same(self._options, options, "network", "grid", "magnification", "test_time_flips")
        features = self._features if same else None
        return FrozenFitter(self._data, options, self._hardware, cache=self._cache, features=features)

    def out_of_fold(self, split: Split, *, work: Path | None = None, watch: Watcher | None = None) -> FoldResult:
        """Fit on the split's training images and score its test images, in their order."""
        del work, watch  # a head takes seconds: no checkpoints, no epochs
        head = self._head(self._data.extend(split).train)
        trained = np.isin(self._features.image, split.train)
        labels = self._data.main.labels
        return fold_result(
            split.name,
            split.test,
            labels[split.test],
            [head.logits(self._features.of(image)) for image in split.test],
            training=patch_metrics(head.logits(self._features.values[trained]), labels[self._features.image[trained]]),
        )

    def final(
        self, folds: Sequence[FoldResult], *, work: Path | None = None, watch: Watcher | None = None
    ) -> nn.Module:
        """Return the network with a head fitted on all images, on the CPU."""
        del folds, work, watch
        module = networks.create(self._options.network, classes=self._classes, weights="imagenet")
        head = self._head(np.arange(self._table.labels.size))
        head.fold_into(networks.head(module, self._options.network))
        return module

    @property
    def _classes(self) -> int:
        return len(self._data.main.task.classes)

    def _head(self, rows: NDArray[np.intp]) -> LinearHead:
        return fit_head(self._table.rows(rows), c=self._options.c, classes=self._classes)


@dataclass
class FinetuneFitter:
    """A whole network, trained end to end.

    Attributes:
        data: The images.
        options: The options of the training.
        hardware: The device and precision.
        pixels: The cache that reads the images.
        sampler: The sampler of another fitter with the same images and grid; None to read the images.
    """

    data: TrainingData
    options: FitOptions
    hardware: Hardware
    pixels: PixelCache
    sampler: PatchSampler | None = None

    def with_options(self, options: FitOptions) -> FinetuneFitter:
        """Return a fitter with other options; it reuses the images if they do not depend on the changes."""
        same = _same(self.options, options, "grid", "magnification")
        return replace(self, options=options, sampler=self._sampler if same else None)

    @cached_property
    def _sampler(self) -> PatchSampler:
        if self.sampler is not None:
            return self.sampler
        options = self.options
        main = len(self.data.main)
        images = []
        for number, image in enumerate(ProgressBar(self.data.everything.images, stage=Stage.READING, disable=True)):
            pixels = self.pixels.read(image)
            if number >= main:
                pixels = shrink(pixels, image.magnification, options.target_magnification, options.grid.size)
            images.append(pixels)
        return PatchSampler(images, options.grid, self.hardware.device)

    def out_of_fold(self, split: Split, *, work: Path | None = None, watch: Watcher | None = None) -> FoldResult:
        """Train on most of the split's training patients, validate on the others, and score its test images."""
        images = self._images(*self._hold_out(split))
        modules: list[nn.Module] = []
        histories: list[list[Epoch]] = []
        for seed in range(self.options.seeds):
            checkpoint = self._checkpoint(work, split, images, seed)
            module, history = self._train(images, seed, checkpoint=checkpoint, watch=watch)
            modules.append(module)
            histories.append(history)
        best = best_epoch(histories[0])
        return fold_result(
            split.name,
            split.test,
            self.data.main.labels[split.test],
            logits_of_images(modules, self._sampler, split.test.tolist(), self.options, self.hardware),
            training=histories[0][best - 1].training,
            validation=histories[0][best - 1].validation,
            epochs=histories[0],
            best_epoch=best,
        )

    def final(
        self, folds: Sequence[FoldResult], *, work: Path | None = None, watch: Watcher | None = None
    ) -> nn.Module:
        """Return the network trained on all images for the median of the folds' best numbers of epochs, on the CPU."""
        epochs = max(1, int(np.median([fold.best_epoch or 1 for fold in folds])))
        everyone = np.arange(len(self.data.everything))
        images = self._images(everyone, np.array([], dtype=np.intp))
        split = Split("all images", everyone, np.array([], dtype=np.intp))
        members = []
        for seed in range(self.options.seeds):
            checkpoint = self._checkpoint(work, split, images, seed)
            module, _ = self._train(images, seed, stop_after=epochs, checkpoint=checkpoint, watch=watch)
            members.append(module.cpu())
        return networks.ensemble(members)

    def _train(
        self,
        images: TrainingImages,
        seed: int,
        *,
        checkpoint: Checkpoint,
        watch: Watcher | None,
        stop_after: int | None = None,
    ) -> tuple[nn.Module, list[Epoch]]:
        options = self.options.replace(seed=self.options.seed + seed)
        return train(
            self._sampler, images, options, self.hardware, stop_after=stop_after, checkpoint=checkpoint, watch=watch
        )

    def _checkpoint(self, work: Path | None, split: Split, images: TrainingImages, seed: int) -> Checkpoint:
        return Checkpoint(
            None if work is None else work / f"seed{seed}.pt",
            self.options.model_dump(), self.hardware, split.name, self.data.everything.identity,
            images.index.tolist(), images.validation.tolist(),
        )  # fmt: skip

    def _images(self, index: NDArray[np.intp], validation: NDArray[np.intp]) -> TrainingImages:
        labels = self.data.everything.labels
        weights = sample_weights(
            labels[index],
            self.data.everything.patients[index],
            self.data.is_auxiliary[index],
            auxiliary_weight=self.options.also_weight,
            balance=self.options.balance,
        )
        return TrainingImages(index, labels, weights, validation, len(self.data.main.task.classes))

    def _hold_out(self, split: Split) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Divide the training images, by patient, into training and validation images."""
        extended = self.data.extend(split)
        validation = hold_out(self.data.main, split, seed=self.options.seed)
        patients = self.data.everything.patients
        rest = extended.train[~np.isin(patients[extended.train], patients[validation])]
        inner = Split(f"the validation part of {split.name}", rest, validation)
        refuse_leaks(self.data.everything.images, inner)
        return rest, validation


def make_fitter(
    data: TrainingData, options: FitOptions, hardware: Hardware, *, cache: Path, progress: bool = False
) -> FrozenFitter | FinetuneFitter:
    """Create the fitter for the options' mode.

    Args:
        data: The images.
        options: Options of the fit.
        hardware: Device and number format of the training.
        cache: Folder for decoded images and computed features.
        progress: Show a progress bar while features are computed.

    Raises:
        WeightsUnavailableError: If the ImageNet weights are needed and not available.
    """
    if options.mode == "frozen":
        return FrozenFitter(data, options, hardware, cache=cache, progress=progress)
    return FinetuneFitter(data, options, hardware, PixelCache(cache))


def _same(one: FitOptions, other: FitOptions, *names: str) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in names)
