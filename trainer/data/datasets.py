"""Data sets: labelled images that have been decoded and checked."""

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
        images: The images, sorted by patient, then by pixel hash, so that the order does not depend on file names.
        task: The task whose classes the labels are.
        synthetic: Whether the source is marked as synthetic.
        notes: Sentences about images that were dropped and assumptions that were made.
    """

    images: tuple[LabelledImage, ...]
    task: Task = TASKS["malignancy"]
    synthetic: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The class index of each image (0 for benign, 1 for malignant), of shape (images,)."""
        return np.array([self.task.classes.index(self.task.class_of(image)) for image in self.images], dtype=np.int64)

    @cached_property
    def patients(self) -> NDArray[np.str_]:
        """The patient of each image, of shape (images,)."""
        return np.array([image.patient for image in self.images], dtype=np.str_)

    @property
    def fingerprint(self) -> str:
        """The SHA-256, in hexadecimal, of pixels, labels and patients; file names and order do not matter."""
        lines = sorted(f"{image.sha256} {image.label} {image.patient}\n" for image in self.images)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def identity(self) -> str:
        """The SHA-256, in hexadecimal, of everything that a training reads from the images, in their order."""
        lines = [f"{i.sha256} {i.label} {i.patient} {i.subtype} {i.magnification} {i.whole}\n" for i in self.images]
        return hashlib.sha256("".join([self.task.name, *lines]).encode()).hexdigest()

    def subset(self, keep: Callable[[LabelledImage], bool]) -> ImageDataset:
        """Return the data set of the images for which `keep` is true."""
        return replace(self, images=tuple(image for image in self.images if keep(image)))

    def summary(self) -> str:
        """Return a line with the numbers of images and patients."""
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
        magnifications: The magnifications to keep, such as `("40X",)`; empty for all. If no image of the source
            states a magnification, all images are kept and a note says so.
        whole_only: Drop crops of micrographs.
        task: The task whose classes the labels are.
        without: The subtypes to leave out.
        smallest: The minimum side of an image, in pixels.
        require: Checks further requirements and returns one sentence per problem.
        cache: The cache of decoded images.
        progress: Show a progress bar.

    Raises:
        DataSetError: Listing everything that is wrong at once: invalid rows, missing or unreadable files, labels that
            do not belong to the task, equal pixels under two labels or patients, and classes without images.
    """
    records = read_records(Path(source))
    selected, notes = _select(records.images, magnifications, whole_only=whole_only)
    problems = list(records.problems)
    if records.images and not selected:
        problems.append(_nothing_selected(records.images, magnifications))
    images, unusable = _check_pixels(selected, cache or PixelCache(None), smallest, progress=progress)
    images, foreign = _of_task(images, task)
    kept, duplicate_notes, conflicts = _drop_duplicates(images, task)
    # After the search for duplicates: if a case is filed under two subtypes, leaving one out does not make the other
    # true.
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
    """Decode every image once; return the usable images with their hash, and a sentence for each other one."""

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
    """Return the images that belong to the task, and a sentence for each other one."""
    mine, problems = [], []
    for image in images:
        name = task.class_of(image)
        if name in task.classes:
            mine.append(image)
        elif not task.binary:  # a wrong label is already reported, with its line in the manifest
            what = f"the {task.name} {name!r}" if name else f"no {task.name}"
            problems.append(f"{image.path} has {what}; the task needs one of {', '.join(task.classes)}.")
    return mine, problems


def _sizes(images: list[LabelledImage]) -> list[str]:
    """Return a note if the images differ in size, because their numbers of votes then differ as well."""
    sizes = Counter((image.width, image.height) for image in images)
    if len(sizes) < 2:  # noqa: PLR2004 (a single size needs no note)
        return []
    ranked = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))  # the same text for every order of the images
    listed = ", ".join(f"{width}x{height} ({count})" for (width, height), count in ranked[:_SIZES_NAMED])
    more = f" and {len(sizes) - _SIZES_NAMED} more" if len(sizes) > _SIZES_NAMED else ""
    return [f"The images have {len(sizes)} sizes: {listed}{more}. Each is cut by its own grid and counts once."]


def _drop_duplicates(images: list[LabelledImage], task: Task) -> tuple[list[LabelledImage], list[str], list[str]]:
    """Return one image of each group with equal pixels, notes about dropped images, and contradictions."""
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
            f"{_images_are(ambiguous)} in the data set under two subtypes, with equal pixels, and it is unknown which "
            f"is true; none of them is used ({_patients(ambiguous)})."
        )
    return kept, notes, conflicts


def _images_are(images: list[LabelledImage]) -> str:
    return "1 image is" if len(images) == 1 else f"{len(images)} images are"


def _patients(images: list[LabelledImage]) -> str:
    return "patient " + ", ".join(sorted({image.patient for image in images}))


def _missing_classes(data: ImageDataset) -> list[str]:
    """Return a sentence for each missing class: benign and malignant are both needed, of the subtypes any two."""
    present = {data.task.class_of(image) for image in data.images}
    if not data.task.binary:
        return [] if len(present) > 1 else ["All images are of one class; at least two classes are needed."]
    missing = [name for name in data.task.classes if name not in present]
    return [f"The data set has no {name} image; both classes are needed." for name in missing]
