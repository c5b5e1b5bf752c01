"""Data sets: labelled images whose every pixel has been read and checked."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.imaging.decode import DecodeError
from trainer.data.image_cache import PixelCache
from trainer.data.records import DataSetError, LabelledImage, read_records
from trainer.data.tasks import TASKS, Task
from trainer.utils.progress import ProgressBar, Stage

_DECODING_THREADS = 2
_SIZES_NAMED = 3


@dataclass(frozen=True)
class ImageDataset:
    """Checked images, no two of them with equal pixels.

    Attributes:
        images: Sorted by patient, then by pixel hash, so that the order does not depend on file names.
        task: What the labels are of.
        synthetic: True where the source says that no patient is behind the images.
        notes: What was done to the source's list, in sentences.
    """

    images: tuple[LabelledImage, ...]
    task: Task = TASKS["malignancy"]
    synthetic: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Class numbers of the task (1 for malignant, 0 for benign), of shape (images,)."""
        return np.array([self.task.classes.index(self.task.class_of(image)) for image in self.images], dtype=np.int64)

    @cached_property
    def patients(self) -> NDArray[np.str_]:
        """The patient of each image, of shape (images,)."""
        return np.array([image.patient for image in self.images], dtype=np.str_)

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, of pixels, labels and patients; file names and order do not matter."""
        lines = sorted(f"{image.sha256} {image.label} {image.patient}\n" for image in self.images)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def identity(self) -> str:
        """SHA-256, in hexadecimal, of all that a training reads of the images, in their order."""
        lines = [f"{i.sha256} {i.label} {i.patient} {i.subtype} {i.magnification} {i.whole}\n" for i in self.images]
        return hashlib.sha256("".join([self.task.name, *lines]).encode()).hexdigest()

    def subset(self, keep: Callable[[LabelledImage], bool]) -> ImageDataset:
        """The images for which `keep` is true."""
        return replace(self, images=tuple(image for image in self.images if keep(image)))

    def summary(self) -> str:
        """One line for people: how many images of how many patients."""
        kind = "synthetic images" if self.synthetic else "images"
        parts = []
        for name in self.task.classes:
            patients = Counter(image.patient for image in self.images if self.task.class_of(image) == name)
            parts.append(f"{patients.total()} {name} of {len(patients)} patients")
        return f"{len(self)} {kind}: {', '.join(parts)}"


def load(
    source: str | Path,
    *,
    magnifications: Sequence[str] = (),
    whole_only: bool = False,
    task: Task = TASKS["malignancy"],
    without: Sequence[str] = (),
    smallest: int = 1,
    require: Callable[[ImageDataset], list[str]] | None = None,
    cache: PixelCache | None = None,
    progress: bool = False,
) -> ImageDataset:
    """Read and check a data set.

    Args:
        source: A manifest, a folder with a `manifest.csv`, or a BreakHis folder tree.
        magnifications: Keep only images at one of these, such as `("40X",)`; all when empty. Where no image
            of the source states a magnification, all are kept and a note says so.
        whole_only: Leave crops of micrographs out.
        task: What the labels are of.
        without: Subtypes to leave out.
        smallest: Least side of an image, in pixels.
        require: What else the images must fulfil: returns what is wrong, in sentences.
        cache: Remembers what was decoded before.
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
    images, unusable = _check_pixels(selected, cache or PixelCache(None), smallest, progress=progress)
    images, foreign = _of_task(images, task)
    kept, duplicate_notes, conflicts = _drop_duplicates(images, task)
    # Only now: of a case filed under two subtypes, leaving one out does not make the other one true.
    notes += [f"{sum(i.subtype == name for i in kept)} images of {name} are left out, as asked." for name in without]
    kept = [image for image in kept if image.subtype not in without]
    kept.sort(key=lambda image: (image.patient, image.sha256))
    notes += _sizes(kept)
    data = ImageDataset(tuple(kept), task=task, synthetic=records.synthetic, notes=(*notes, *duplicate_notes))
    problems += unusable + foreign + conflicts
    if kept:
        problems += _missing_classes(data) + (require(data) if require else [])
    if problems:
        raise DataSetError(problems)
    return data


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


def _check_pixels(
    images: list[LabelledImage], cache: PixelCache, smallest: int, *, progress: bool
) -> tuple[list[LabelledImage], list[str]]:
    """Decode every image once: the usable ones with their hash, and a sentence for each other."""

    def check(image: LabelledImage) -> LabelledImage | str:
        try:
            checked = cache.check(image)
        except FileNotFoundError:
            return f"{image.path} is missing."
        except DecodeError as error:
            return f"{image.path} cannot be used: {error.message}"
        except OSError as error:
            return f"{image.path} cannot be read: {error.strerror}."
        if min(checked.width, checked.height) < smallest:
            return f"{image.path} is {checked.width}x{checked.height}: smaller than a patch of {smallest} pixels."
        return checked

    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        checked = pool.map(check, images)
        outcomes: list[LabelledImage | str] = list(
            ProgressBar(checked, stage=Stage.READING, total=len(images), unit="image", disable=not progress)
        )
    good = [outcome for outcome in outcomes if isinstance(outcome, LabelledImage)]
    return good, [outcome for outcome in outcomes if isinstance(outcome, str)]


def _of_task(images: list[LabelledImage], task: Task) -> tuple[list[LabelledImage], list[str]]:
    """The images that belong to the task, and a sentence for each other."""
    mine, problems = [], []
    for image in images:
        name = task.class_of(image)
        if name in task.classes:
            mine.append(image)
        elif not task.binary:  # a wrong label has been said already, with its line in the manifest
            what = f"the {task.name} {name!r}" if name else f"no {task.name}"
            problems.append(f"{image.path} has {what}; the task needs one of {', '.join(task.classes)}.")
    return mine, problems


def _sizes(images: list[LabelledImage]) -> list[str]:
    """A note where images are not all of one size: their grids then differ, and so do their numbers of votes."""
    sizes = Counter((image.width, image.height) for image in images)
    if len(sizes) < 2:  # noqa: PLR2004 (one size is none to speak of)
        return []
    ranked = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))  # the same text whatever the images' order
    listed = ", ".join(f"{width}x{height} ({count})" for (width, height), count in ranked[:_SIZES_NAMED])
    more = f" and {len(sizes) - _SIZES_NAMED} more" if len(sizes) > _SIZES_NAMED else ""
    return [f"The images have {len(sizes)} sizes: {listed}{more}. Each is cut by its own grid and counts once."]


def _drop_duplicates(images: list[LabelledImage], task: Task) -> tuple[list[LabelledImage], list[str], list[str]]:
    """One image of each group with equal pixels, notes on those left out, and the contradictions."""
    by_pixels: dict[str, list[LabelledImage]] = defaultdict(list)
    for image in images:
        by_pixels[image.sha256].append(image)
    kept, conflicts, spare, ambiguous = [], [], [], []
    for group in by_pixels.values():
        names = ", ".join(str(image.path) for image in group)
        if len({image.label for image in group}) > 1:
            conflicts.append(f"Equal pixels under different labels: {names}.")
        if len({image.patient for image in group}) > 1:
            conflicts.append(f"Equal pixels under different patients: {names}.")
        if len({image.label for image in group}) == 1 and len({task.class_of(image) for image in group}) > 1:
            ambiguous += group
        else:
            kept.append(group[0])
            spare += group[1:]
    notes = []
    if spare:
        notes.append(
            f"{_images_are(spare)} in the data set under a second name, with equal pixels; one copy of each is used "
            f"({_patients(spare)})."
        )
    if ambiguous and not conflicts:
        notes.append(
            f"{_images_are(ambiguous)} in the data set under two subtypes, with equal pixels, so nobody knows which "
            f"is true; none of them is used ({_patients(ambiguous)})."
        )
    return kept, notes, conflicts


def _images_are(images: list[LabelledImage]) -> str:
    return "1 image is" if len(images) == 1 else f"{len(images)} images are"


def _patients(images: list[LabelledImage]) -> str:
    return "patient " + ", ".join(sorted({image.patient for image in images}))


def _missing_classes(data: ImageDataset) -> list[str]:
    """Of benign and malignant both are needed, of the subtypes any two."""
    present = {data.task.class_of(image) for image in data.images}
    if not data.task.binary:
        return [] if len(present) > 1 else ["All images are of one class; there is nothing to tell apart."]
    missing = [name for name in data.task.classes if name not in present]
    return [f"The data set has no {name} image; both classes are needed." for name in missing]
