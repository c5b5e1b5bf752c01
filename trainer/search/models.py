"""The models that a search fits: nothing is read twice, and what takes long is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self, cast

import numpy as np

from trainer.data.splits import Split
from trainer.evaluation.fold_runner import FoldStore, run_folds
from trainer.evaluation.out_of_fold import Fitter
from trainer.experiments import prepare
from trainer.fitting.fitters import TrainingData
from trainer.fitting.hardware import Hardware
from trainer.options import FitOptions
from trainer.schemas import FoldResult


class _Adjustable(Fitter, Protocol):
    """A fitter that takes its images, or their features, along to other options."""

    def with_options(self, options: FitOptions) -> Self: ...


class Models:
    """Fits models of changing options on splits of the same images."""

    def __init__(
        self, data: TrainingData, base: FitOptions, machine: Hardware, *, store: Path, cache: Path, progress: bool
    ) -> None:
        """Read the images, or their features.

        Args:
            data: The images.
            base: Options that the others differ from in what can be searched.
            machine: Where networks are trained.
            store: Folder for the results of trained networks.
            cache: Folder for decoded images and computed features.
            progress: Show a progress bar of the reading.

        Raises:
            WeightsUnavailableError: If ImageNet weights were asked for and cannot be had.
        """
        self._data, self._machine, self._store = data, machine, store
        made = cast("_Adjustable", prepare.make_fitter(data, base, machine, cache=cache, progress=progress))
        # By whether they average mirrored variants, whose features are others.
        self._fitters = {base.test_time_flips: made.with_options(base)}

    def out_of_fold(self, split: Split, options: FitOptions, *, temperature: float = 1.0) -> FoldResult:
        """Train on a split and score its test images; logits are divided by the temperature.

        What is trained, unlike a head on features, takes long: its epochs and its result are kept.

        Raises:
            FloatingPointError: If the training diverges.
        """
        fitter = self._fitter(options)
        if options.mode == "frozen":
            result = fitter.out_of_fold(split)
        else:
            identity = prepare.identity(self._data, options, self._machine, [split])
            store = FoldStore.of(self._store, split.name, identity)
            result = run_folds(fitter, [split], store)[0].result
        return result.model_copy(update={"logits": (np.array(result.logits) / temperature).tolist()})

    def _fitter(self, options: FitOptions) -> Fitter:
        flips = options.test_time_flips
        if flips not in self._fitters:
            self._fitters[flips] = self._fitters[not flips].with_options(options)
        return self._fitters[flips].with_options(options)
