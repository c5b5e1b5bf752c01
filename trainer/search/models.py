"""The models of a search: images and features are read once, and trained networks are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self, cast

import numpy as np

from trainer.data.splits import Split
from trainer.evaluation.fold_runner import FoldStore, run_folds
from trainer.evaluation.out_of_fold import Fitter
from trainer.experiments.prepare import Experiment
from trainer.options import FitOptions
from trainer.schemas import FoldResult


class _ReusableFitter(Fitter, Protocol):
    """A fitter that reuses its images or features with other options."""

    def with_options(self, options: FitOptions) -> Self: ...


class Models:
    """A source of models with varying options, fitted on splits of the same images."""

    def __init__(self, experiment: Experiment, *, store: Path) -> None:
        """Read the images, or compute their features.

        Args:
            experiment: The images, and the base options, from which the others differ only in what can be searched.
            store: Folder for the results of trained networks.

        Raises:
            WeightsUnavailableError: If the ImageNet weights are needed and not available.
        """
        self._experiment, self._store = experiment, store
        base = experiment.options
        fitter = cast("_ReusableFitter", experiment.make_fitter())
        # By `test_time_flips`, because mirrored patches have other features.
        self._fitters = {base.test_time_flips: fitter.with_options(base)}

    def out_of_fold(self, split: Split, options: FitOptions, *, temperature: float = 1.0) -> FoldResult:
        """Train on a split and score its test images, with the logits divided by the temperature.

        A trained network takes long, unlike a head on features, so its epochs and its result are stored.

        Raises:
            FloatingPointError: If the training diverges.
        """
        fitter = self._fitter(options)
        if options.mode == "frozen":
            result = fitter.out_of_fold(split)
        else:
            identity = self._experiment.with_options(options).with_splits([split]).identity
            store = FoldStore.for_candidate(self._store, split.name, identity)
            result = run_folds(fitter, [split], store)[0].result
        return result.model_copy(update={"logits": (np.array(result.logits) / temperature).tolist()})

    def _fitter(self, options: FitOptions) -> Fitter:
        flips = options.test_time_flips
        if flips not in self._fitters:
            self._fitters[flips] = self._fitters[not flips].with_options(options)
        return self._fitters[flips].with_options(options)
