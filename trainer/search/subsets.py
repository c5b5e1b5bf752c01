"""Whose images a search may see: the training patients of each outer split, cut again for the trials."""

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
"""The name of the last part: it chooses the options for the final model."""


@dataclass(frozen=True)
class Subset:
    """What has a search of its own: the images of one outer split's training patients, or all images.

    Attributes:
        name: Of the outer split, and of Optuna's study.
        inner: Splits of these images, by patient.
    """

    name: str
    inner: list[Split]


def plan(data: ImageDataset, base: FitOptions, outer: Sequence[Split], inner_folds: int) -> list[Subset]:
    """The parts of the outer splits, in their order, and at last that of all images.

    Raises:
        DataSetError: Naming all parts with too few patients.
    """
    everything = np.arange(len(data))
    parts, problems = [], []
    for split in (*outer, Split(ALL_IMAGES, everything, everything[:0])):
        try:
            inner = _inner_splits(data, split, inner_folds, base.seed)
            wrong = [sentence for one in inner if (sentence := _problem(data, base, one))]
        except ValueError as error:
            wrong = str(error).splitlines()
        else:
            parts.append(Subset(split.name, inner))
        problems += [f"Inside the training images of {split.name}: {sentence}" for sentence in wrong]
    if problems:
        remedy = "Ask for fewer --inner-folds, or 0 to leave one patient out at a time."
        raise DataSetError([*problems, remedy])
    return parts


def _inner_splits(data: ImageDataset, outer: Split, folds: int, seed: int) -> list[Split]:
    """Splits by patient of an outer split's training images, whatever the outer protocol."""
    training = replace(data, images=tuple(data.images[index] for index in outer.train))
    protocol: Literal["patient", "lopo"] = "patient" if folds else "lopo"
    return [
        Split(f"{outer.name}, inner {split.name}", outer.train[split.train], outer.train[split.test])
        for split in make_splits(training, protocol, folds=folds, seed=seed)
    ]


def _problem(data: ImageDataset, base: FitOptions, split: Split) -> str:
    """Why nothing can be trained on a split, or ""."""
    if data.task.binary and len(set(data.labels[split.train])) == 1:
        return f"{split.name} has one class alone to train on."
    if base.mode != "frozen":
        try:
            hold_out(data, split, seed=base.seed)
        except ValueError as error:
            return str(error)
    return ""
