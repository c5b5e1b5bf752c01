"""The images that each search may see: the training images of an outer split, split again for the trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from trainer.data.datasets import ImageDataset
from trainer.data.records import DataSetError
from trainer.data.splits import Split, hold_out, make_splits
from trainer.options import FitOptions

ALL_IMAGES = "all images"
"""The name of the last subset, whose search chooses the options of the final model."""


@dataclass(frozen=True)
class Subset:
    """The images of one search: the training images of an outer split, or all images.

    Attributes:
        name: The name of the outer split, which is also the name of the Optuna study.
        inner: Splits of the subset's images by patient.
    """

    name: str
    inner: list[Split]


def plan(data: ImageDataset, base: FitOptions, outer: Sequence[Split], inner_folds: int) -> list[Subset]:
    """Return the subset of each outer split, in order, and last the subset of all images.

    Args:
        data: The main images.
        base: Options that are not searched; the seed shuffles the inner folds.
        outer: The outer splits.
        inner_folds: Number of inner folds by patient; 0 leaves one patient out at a time.

    Raises:
        DataSetError: If any subset has too few patients; it lists all of them.
    """
    everything = np.arange(len(data))
    subsets, problems = [], []
    for split in (*outer, Split(ALL_IMAGES, everything, everything[:0])):
        try:
            inner = _inner_splits(data, split, inner_folds, base.seed)
            sentences = [sentence for one in inner if (sentence := _problem(data, base, one))]
        except ValueError as error:
            sentences = str(error).splitlines()
        else:
            subsets.append(Subset(split.name, inner))
        problems += [f"Inside the training images of {split.name}: {sentence}" for sentence in sentences]
    if problems:
        remedy = "Choose fewer --inner-folds, or 0 to leave one patient out at a time."
        raise DataSetError([*problems, remedy])
    return subsets


def _inner_splits(data: ImageDataset, outer: Split, folds: int, seed: int) -> list[Split]:
    """Split the training images of an outer split by patient, whatever the outer protocol is."""
    training = replace(data, images=tuple(data.images[index] for index in outer.train))
    protocol: Literal["patient", "lopo"] = "patient" if folds else "lopo"
    return [
        Split(f"{outer.name}, inner {split.name}", outer.train[split.train], outer.train[split.test])
        for split in make_splits(training, protocol, folds=folds, seed=seed)
    ]


def _problem(data: ImageDataset, base: FitOptions, split: Split) -> str:
    """Return the reason why no model can be trained on a split, or ""."""
    if data.task.binary and len(set(data.labels[split.train])) == 1:
        return f"{split.name} has only one class to train on."
    if base.mode != "frozen":
        try:
            hold_out(data, split, seed=base.seed)
        except ValueError as error:
            return str(error)
    return ""
