"""Splits into training and test images: by patient, and by image as in the thesis."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold

from trainer.choices import Protocol
from trainer.data import breakhis_folds
from trainer.data.datasets import ImageDataset
from trainer.data.records import LabelledImage

PROTOCOL_NOTES: dict[Protocol, str] = {
    "patient": "cross-validation with folds by patient, stratified by class",
    "lopo": "leave-one-patient-out cross-validation",
    "thesis": (
        "cross-validation with folds by image, as in the thesis: images of one patient are on both sides, "
        "so these numbers are too high for new patients"
    ),
    "official": (
        "BreakHis's official fold lists: they separate slides, not cases, so images of one patient are on both sides, "
        "and these numbers are too high for new patients"
    ),
}


_VALIDATION_FOLDS = 5


class LeakError(ValueError):
    """A split whose training and test images overlap."""


@dataclass(frozen=True)
class Split:
    """One division of the images into training and test images.

    Attributes:
        name: A name for users, such as `fold 2 of 5` or `patient 14-22549`.
        train: The training images, as indices into the data set.
        test: The test images, as indices into the data set, none of them in `train`.
        repeat: The index of the repeat, from 0.
        leaks_patients: Whether the protocol allows a patient on both sides.
    """

    name: str
    train: NDArray[np.intp]
    test: NDArray[np.intp]
    repeat: int = 0
    leaks_patients: bool = False


def make_splits(
    data: ImageDataset,
    protocol: Protocol = "patient",
    *,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    lists: Path | None = None,
) -> list[Split]:
    """Split a data set into folds; each image is tested once per repeat, except with the protocol `official`.

    Args:
        data: The data set.
        protocol: See `Protocol`.
        folds: The number of folds; not used by `lopo` and `official`.
        repeats: The number of times the folds are redrawn; not used by `lopo` and `official`.
        seed: The seed of the first repeat; each further repeat adds 1.
        lists: The folder with `dsfold1.txt` and so on; used by `official` only.

    Raises:
        ValueError: Listing everything that is wrong; see `split_problems`.
        LeakError: If training and test images of a split overlap.
    """
    problems = split_problems(data, protocol, folds=folds, lists=lists)
    if problems:
        raise ValueError("\n".join(problems))
    if protocol == "lopo":
        splits = _leave_one_patient_out(data)
    elif protocol == "official":
        splits = _official(data, breakhis_folds.read(lists))
    else:
        splits = [split for repeat in range(repeats) for split in _folds(data, protocol, folds, repeat, seed)]
    for split in splits:
        refuse_leaks(data.images, split)
    return splits


def split_problems(data: ImageDataset, protocol: Protocol, *, folds: int = 5, lists: Path | None = None) -> list[str]:
    """Return one sentence for each reason why a data set cannot be split by a protocol."""
    if protocol == "official":
        return breakhis_folds.problems(data, lists)
    if protocol != "lopo" and folds < 2:  # noqa: PLR2004 (a fold to test on and one to train on)
        return ["Cross-validation needs at least 2 folds."]
    if protocol == "thesis":
        counts = {name: int((data.labels == index).sum()) for index, name in enumerate(data.task.classes)}
        return _too_few(counts, folds, "images", f"{folds} folds need {folds} images")
    counts = patients_by_class(data)
    if protocol == "lopo":
        return _too_few(counts, 2, "patients", "Leave-one-patient-out needs 2 patients")
    # Few of the eight types have as many patients as there are folds; it is enough that one patient remains to train
    # on.
    least = folds if data.task.binary else 2
    wrong = _too_few(counts, least, "patients", f"{folds} folds need {least} patients")
    return wrong or ([] if len(set(data.patients)) >= folds else [f"There are fewer patients than {folds} folds."])


def hold_out(data: ImageDataset, split: Split, *, seed: int) -> NDArray[np.intp]:
    """Choose training patients whose images validate a training, for early stopping.

    Args:
        data: The images that the split refers to.
        split: The split.
        seed: The seed of the choice.

    Returns:
        The indices of about a fifth of the training images, such that each class keeps a patient to train on.

    Raises:
        ValueError: If there are too few patients.
    """
    labels, patients = data.labels[split.train], data.patients[split.train]
    classes = set(labels)
    most = min(_VALIDATION_FOLDS, len(set(patients)), int(np.bincount(labels).max()))
    for folds in range(most, 1, -1):
        splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
        parts = [(split.train[rest], split.train[out]) for rest, out in _quietly(splitter, labels, patients)]
        possible = [out for rest, out in parts if set(data.labels[rest]) == classes]
        # With eight types, some may lack a second patient; with two classes, both sides need both.
        possible.sort(key=lambda out: -len(set(data.labels[out])))
        if possible and (not data.task.binary or set(data.labels[possible[0]]) == classes):
            return possible[0]
    raise ValueError(f"In {split.name}, too few patients are left to hold some out for early stopping.")


def _quietly(
    splitter: StratifiedGroupKFold | StratifiedKFold, labels: NDArray[np.int64], patients: NDArray[np.str_] | None
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return the splitter's folds without its warning about small classes, which the report's notes mention."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(splitter.split(labels, labels, patients))


def patients_by_class(data: ImageDataset) -> dict[str, int]:
    """Return the number of patients with an image of each class."""
    return {name: len(set(data.patients[data.labels == index])) for index, name in enumerate(data.task.classes)}


def _too_few(counts: dict[str, int], least: int, unit: str, need: str) -> list[str]:
    few = [f"{count} {name}" for name, count in counts.items() if 0 < count < least]
    if not few:
        return []
    remedy = f"Add more {unit}, choose fewer folds, or leave a small subtype out with --without."
    return [f"{need} of each class; the data set has only {' and '.join(few)}. {remedy}"]


def refuse_leaks(images: Sequence[LabelledImage], split: Split) -> None:
    """Raise a LeakError if a patient, or two images with equal pixels, are on both sides of a split.

    The protocols `thesis` and `official` put patients on both sides by design; equal pixels are refused for them too.
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


def _leave_one_patient_out(data: ImageDataset) -> list[Split]:
    splitter = LeaveOneGroupOut().split(data.labels, data.labels, data.patients)
    return [Split(f"patient {data.patients[test[0]]}", train, test) for train, test in splitter]


def _folds(data: ImageDataset, protocol: Protocol, folds: int, repeat: int, seed: int) -> list[Split]:
    thesis = protocol == "thesis"
    splitter = (StratifiedKFold if thesis else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed + repeat)
    pairs = _quietly(splitter, data.labels, None if thesis else data.patients)
    again = f", repeat {repeat + 1}" if repeat else ""
    return [
        Split(f"fold {number} of {folds}{again}", train, test, repeat, leaks_patients=thesis)
        for number, (train, test) in enumerate(pairs, 1)
    ]


def _official(data: ImageDataset, lists: list[dict[str, str]]) -> list[Split]:
    splits = []
    for number, roles in enumerate(lists, 1):
        role = np.array([roles[image.path.stem] for image in data.images])
        train, test = np.flatnonzero(role == "train"), np.flatnonzero(role == "test")
        if test.size:  # for a part of BreakHis, a list may have no test images
            splits.append(Split(f"official fold {number}", train, test, leaks_patients=True))
    return splits
