"""Prepare an experiment: everything that a fit, a study and a search need before they train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainer.data.splits import Split, make_splits
from trainer.evaluation.out_of_fold import Fitter
from trainer.experiments.provenance import versions
from trainer.experiments.training_data import read_training_data
from trainer.fitting.fitters import TrainingData, make_fitter
from trainer.fitting.hardware import Hardware
from trainer.options import FitOptions


@dataclass(frozen=True)
class Experiment:
    """The options, images, splits and hardware that the results of the folds depend on.

    Attributes:
        options: Options of the fit.
        data: The images.
        splits: Splits of the main images, by the protocol of the options.
        hardware: Device and number format of the training.
        cache: Folder for decoded images and computed features.
        progress: Show progress bars.
    """

    options: FitOptions
    data: TrainingData
    splits: list[Split]
    hardware: Hardware
    cache: Path
    progress: bool = False

    @property
    def identity(self) -> list[Any]:
        """Everything that the results of the folds depend on, as plain data."""
        return [
            self.options.model_dump(mode="json"),
            self.data.everything.identity,
            [self.hardware.device, self.hardware.precision, self.hardware.compiled],
            versions(),
            [(split.train.tolist(), split.test.tolist()) for split in self.splits],
        ]

    def make_fitter(self) -> Fitter:
        """Create the fitter for the options' mode; a frozen network computes the features of all images here.

        Raises:
            WeightsUnavailableError: If the ImageNet weights are needed and not available.
        """
        return make_fitter(self.data, self.options, self.hardware, cache=self.cache, progress=self.progress)

    def with_options(self, options: FitOptions) -> Experiment:
        """Return the same experiment with other options; the images and the splits stay."""
        return replace(self, options=options)

    def with_splits(self, splits: Sequence[Split]) -> Experiment:
        """Return the same experiment on other splits of the same images."""
        return replace(self, splits=list(splits))


def prepare(
    source: str | Path,
    options: FitOptions,
    hardware: Hardware,
    *,
    cache: Path,
    lists: Path | None = None,
    without: Sequence[str] = (),
    progress: bool = False,
) -> Experiment:
    """Read and check the images, and split them by the protocol.

    Args:
        source: A manifest, a folder with a `manifest.csv`, or a BreakHis folder tree.
        options: Options of the fit.
        hardware: Device and number format of the training.
        cache: Folder for decoded images and computed features.
        lists: Folder of the official fold lists, for the protocol `official`.
        without: Subtypes to leave out.
        progress: Show progress bars.

    Raises:
        DataSetError: If anything is wrong with the data set; it lists all problems.
    """
    data = read_training_data(source, options, cache=cache, lists=lists, without=without, progress=progress)
    splits = make_splits(
        data.main, options.protocol, folds=options.folds, repeats=options.repeats, seed=options.seed, lists=lists
    )
    return Experiment(options, data, splits, hardware, cache, progress)
