"""Who is trained on and who is tested on: splits by patient, and the thesis's split by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold

from trainer.datasets import DataSet
from trainer.records import CLASSES, LabelledImage

Protocol = Literal["patient", "lopo", "thesis"]
"""`patient`: folds by patient. `lopo`: every patient is a fold. `thesis`: folds by image: patients leak."""

PROTOCOL_NOTES: dict[Protocol, str] = {
    "patient": "cross-validation with folds by patient, stratified by class",
    "lopo": "leave-one-patient-out cross-validation",
    "thesis": (
        "cross-validation with folds by image, as in the thesis: images of one patient are on both sides, "
        "so these numbers are too high for new patients"
    ),
}


class LeakError(ValueError):
    """A split that trains on what it tests on."""


@dataclass(frozen=True)
class Split:
    """One fold of one repeat.

    Attributes:
        name: For people, such as `fold 2 of 5` or `patient 14-22549`.
        train: Indices into the data set's images.
        test: Indices into the data set's images, none of them in `train`.
        leaks_patients: True for the thesis's protocol, where a patient may be on both sides by design.
    """

    name: str
    train: NDArray[np.intp]
    test: NDArray[np.intp]
    leaks_patients: bool = False


def make_splits(
    data: DataSet, protocol: Protocol = "patient", *, folds: int = 5, repeats: int = 1, seed: int = 0
) -> list[Split]:
    """Cut a data set into folds; each image is tested once in every repeat.

    Args:
        data: The data set.
        protocol: How; see `Protocol`.
        folds: Number of folds; not used by `lopo`.
        repeats: How often the folds are drawn anew; `lopo` has only one way.
        seed: Of the first repeat; the others count up from it.

    Raises:
        ValueError: If the data set has too few patients (or images) of a class for so many folds.
        LeakError: If a split trains on what it tests on.
    """
    if protocol == "lopo":
        splits = _leave_one_patient_out(data)
    else:
        _require_enough(data, protocol, folds)
        splits = [split for repeat in range(repeats) for split in _folds(data, protocol, folds, repeat, seed)]
    for split in splits:
        refuse_leaks(data.images, split)
    return splits


def refuse_leaks(images: Sequence[LabelledImage], split: Split) -> None:
    """Raise a LeakError if a patient, or two images with equal pixels, are on both sides of a split.

    The thesis's protocol puts patients on both sides by design and says so; equal pixels it may not either.
    """
    train = [images[index] for index in split.train]
    test = [images[index] for index in split.test]
    patients = {image.patient for image in train} & {image.patient for image in test}
    if patients and not split.leaks_patients:
        raise LeakError(f"In {split.name}, patient {', '.join(sorted(patients))} is in training and in test.")
    twins = {image.sha256 for image in train} & {image.sha256 for image in test}
    if twins:
        names = ", ".join(sorted(str(image.path) for image in (*train, *test) if image.sha256 in twins))
        raise LeakError(f"In {split.name}, images with equal pixels are in training and in test: {names}.")


def _leave_one_patient_out(data: DataSet) -> list[Split]:
    for name, count in _patients_by_class(data).items():
        if count < 2:  # noqa: PLR2004 (one to hold out, one to train on)
            raise ValueError(f"Leave-one-patient-out needs 2 {name} patients; the data set has {count}.")
    splitter = LeaveOneGroupOut().split(data.labels, data.labels, data.patients)
    return [Split(f"patient {data.patients[test[0]]}", train, test) for train, test in splitter]


def _folds(data: DataSet, protocol: Protocol, folds: int, repeat: int, seed: int) -> list[Split]:
    thesis = protocol == "thesis"
    splitter = (StratifiedKFold if thesis else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed + repeat)
    pairs = splitter.split(data.labels, data.labels, None if thesis else data.patients)
    again = f", repeat {repeat + 1}" if repeat else ""
    return [
        Split(f"fold {number} of {folds}{again}", train, test, leaks_patients=thesis)
        for number, (train, test) in enumerate(pairs, 1)
    ]


def _require_enough(data: DataSet, protocol: Protocol, folds: int) -> None:
    if folds < 2:  # noqa: PLR2004 (a fold to test on and one to train on)
        raise ValueError("Cross-validation needs at least 2 folds.")
    if protocol == "thesis":
        counts = {name: int((data.labels == index).sum()) for index, name in enumerate(CLASSES)}
        unit = "images"
    else:
        counts, unit = _patients_by_class(data), "patients"
    few = [f"{count} {name}" for name, count in counts.items() if count < folds]
    if few:
        raise ValueError(
            f"{folds} folds need {folds} {unit} of each class; the data set has only {' and '.join(few)}. "
            "Choose fewer folds."
        )


def _patients_by_class(data: DataSet) -> dict[str, int]:
    return {name: len(set(data.patients[data.labels == index])) for index, name in enumerate(CLASSES)}
