"""Data sets: labelled images whose every pixel has been read and checked."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from classifier.decode import DecodeError, decode
from trainer.records import CLASSES, DataSetError, LabelledImage, read_records

_DECODING_THREADS = 2


@dataclass(frozen=True)
class DataSet:
    """Checked images, no two of them with equal pixels.

    Attributes:
        images: Sorted by patient, then by pixel hash, so that the order does not depend on file names.
        synthetic: True where the source says that no patient is behind the images.
        notes: What was done to the source's list, in sentences.
    """

    images: tuple[LabelledImage, ...]
    synthetic: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """1 for malignant, 0 for benign, of shape (images,)."""
        return np.array([CLASSES.index(image.label) for image in self.images], dtype=np.int64)

    @cached_property
    def patients(self) -> NDArray[np.str_]:
        """The patient of each image, of shape (images,)."""
        return np.array([image.patient for image in self.images], dtype=np.str_)

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of pixels, labels and patients; file names and order do not matter."""
        lines = sorted(f"{image.sha256} {image.label} {image.patient}\n" for image in self.images)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def subset(self, keep: Callable[[LabelledImage], bool]) -> DataSet:
        """The images for which `keep` is true."""
        return replace(self, images=tuple(image for image in self.images if keep(image)))

    def summary(self) -> str:
        """One line for people: how many images of how many patients."""
        kind = "synthetic images" if self.synthetic else "images"
        parts = []
        for name in CLASSES:
            patients = Counter(image.patient for image in self.images if image.label == name)
            parts.append(f"{patients.total()} {name} of {len(patients)} patients")
        return f"{len(self)} {kind}: {', '.join(parts)}"


def load(
    source: str | Path,
    *,
    magnifications: Sequence[str] = (),
    whole_only: bool = False,
    progress: bool = False,
) -> DataSet:
    """Read and check a data set.

    Args:
        source: A manifest, a folder with a `manifest.csv`, or a BreakHis folder tree.
        magnifications: Keep only images at one of these, such as `("40X",)`; all when empty. Where no image
            of the source states a magnification, all are kept and a note says so.
        whole_only: Leave crops of micrographs out.
        progress: Show a progress bar.

    Raises:
        DataSetError: Listing everything that is wrong at once: lines that cannot be used, missing or
            unreadable files, labels outside the task, equal pixels under two labels or patients, a class without
            images.
    """
    records = read_records(Path(source))
    selected, notes = _select(records.images, magnifications, whole_only=whole_only)
    problems = list(records.problems)
    if records.images and not selected:
        problems.append(_nothing_selected(records.images, magnifications))
    images, unreadable = _hash_pixels(selected, progress=progress)
    kept, duplicate_notes, conflicts = _drop_duplicates(images)
    problems += unreadable + conflicts
    if not problems:
        problems += _missing_classes(kept)
    if problems:
        raise DataSetError(problems)
    kept.sort(key=lambda image: (image.patient, image.sha256))
    return DataSet(tuple(kept), synthetic=records.synthetic, notes=(*notes, *duplicate_notes))


def decode_pixels(image: LabelledImage) -> NDArray[np.uint8]:
    """The pixels of one checked image, RGB, of shape (height, width, 3).

    Raises:
        DataSetError: If the file has changed since it was checked.
    """
    decoded = decode(image.path)
    if image.sha256 and decoded.sha256 != image.sha256:
        raise DataSetError([f"{image.path} has changed since the data set was read."])
    return decoded.pixels


def _select(
    images: list[LabelledImage], magnifications: Sequence[str], *, whole_only: bool
) -> tuple[list[LabelledImage], list[str]]:
    notes = []
    selected = images
    if magnifications and any(image.magnification for image in images):
        selected = [image for image in selected if image.magnification in magnifications]
    elif magnifications:
        notes.append(f"No image states its magnification: all are taken to be {' or '.join(magnifications)}.")
    if whole_only:
        selected = [image for image in selected if image.whole]
    return selected, notes


def _nothing_selected(images: list[LabelledImage], magnifications: Sequence[str]) -> str:
    there = Counter(image.magnification or "unknown" for image in images)
    listed = ", ".join(f"{name} ({count})" for name, count in there.items())
    wanted = " or ".join(magnifications) or "any magnification"
    return f"The data set has no whole image at {wanted}; it has {listed}."


def _hash_pixels(images: list[LabelledImage], *, progress: bool) -> tuple[list[LabelledImage], list[str]]:
    """Decode every image once: the readable ones with their hash, and a sentence for each other."""

    def check(image: LabelledImage) -> LabelledImage | str:
        try:
            return replace(image, sha256=decode(image.path).sha256)
        except FileNotFoundError:
            return f"{image.path} is missing."
        except DecodeError as error:
            return f"{image.path} cannot be used: {error.message}"
        except OSError as error:
            return f"{image.path} cannot be read: {error.strerror}."

    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        checked: Iterable[LabelledImage | str] = tqdm(
            pool.map(check, images),
            total=len(images),
            desc="Reading images",
            unit="image",
            disable=not progress,
        )
        outcomes = list(checked)
    good = [outcome for outcome in outcomes if isinstance(outcome, LabelledImage)]
    return good, [outcome for outcome in outcomes if isinstance(outcome, str)]


def _drop_duplicates(images: list[LabelledImage]) -> tuple[list[LabelledImage], list[str], list[str]]:
    """One image of each group with equal pixels, a note on those left out, and the contradictions."""
    by_pixels: dict[str, list[LabelledImage]] = defaultdict(list)
    for image in images:
        by_pixels[image.sha256].append(image)
    conflicts, left_out = [], []
    for group in by_pixels.values():
        names = ", ".join(str(image.path) for image in group)
        if len({image.label for image in group}) > 1:
            conflicts.append(f"Equal pixels under different labels: {names}.")
        if len({image.patient for image in group}) > 1:
            conflicts.append(f"Equal pixels under different patients: {names}.")
        left_out += group[1:]
    notes = []
    if left_out:
        patients = ", ".join(sorted({image.patient for image in left_out}))
        count = "1 image is" if len(left_out) == 1 else f"{len(left_out)} images are"
        notes.append(
            f"{count} in the data set under a second name, with equal pixels; one copy of each is used "
            f"(patient {patients})."
        )
    return [group[0] for group in by_pixels.values()], notes, conflicts


def _missing_classes(images: list[LabelledImage]) -> list[str]:
    present = {image.label for image in images}
    return [f"The data set has no {name} image; both classes are needed." for name in CLASSES if name not in present]
