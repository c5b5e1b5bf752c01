"""The correct and wrong verdicts of a candidate by subtype, by patient and by image."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier.imaging.decode import DecodeError, decode
from trainer.evaluation.candidates import ScoredCandidate
from trainer.evaluation.results import ImageRecord, StudyResults
from trainer.report.document import Entry, Gallery, Group, Table, Thumbnail
from trainer.report.formatting import counted, number, percent, plain

Floats = NDArray[np.float64]
ImageFinder: TypeAlias = Callable[[ImageRecord], Path | None]
"""Returns the file of an image, or None if it is not available."""

MOST = 12
"""The maximum number of wrongly classified images that are shown."""

_WIDTH = 300
_QUALITY = 80


@dataclass(frozen=True)
class TestedImage:
    """A tested image with the mean of its predictions over the repeats.

    Attributes:
        record: The image.
        label: The class number of the image.
        right: The share of correct verdicts on the image.
        shares: The share of votes for each class, of shape (classes,).
        probabilities: The calibrated probabilities, of shape (classes,).
    """

    record: ImageRecord
    label: int
    right: float
    shares: Floats
    probabilities: Floats


def tested_images(results: StudyResults, one: ScoredCandidate) -> list[TestedImage]:
    """Return all images that a candidate was tested on, in the study's order."""
    images, index = np.unique(one.out_of_fold.image, return_inverse=True)
    counts = np.bincount(index)

    def mean(values: NDArray[np.generic]) -> Floats:
        return np.bincount(index, weights=values) / counts

    right = mean(one.right)
    shares = np.stack([mean(column) for column in one.out_of_fold.scores.shares.T], axis=1)
    probabilities = np.stack([mean(column) for column in one.probabilities.T], axis=1)
    return [
        TestedImage(
            results.images[image], int(results.labels[image]), float(right[at]), shares[at], probabilities[at]
        )
        for at, image in enumerate(images.tolist())
    ]  # fmt: skip


def by_subtype(results: StudyResults, images: Sequence[TestedImage], name: str) -> Table:
    """Return a table with a row for each subtype, the worst first."""
    groups: dict[tuple[str, str], list[TestedImage]] = {}
    for image in images:
        groups.setdefault((image.record.subtype, image.record.label), []).append(image)
    rows = [
        [
            *_named(results, subtype, label),
            len({image.record.patient for image in members}),
            *_summary(results, members),
        ]
        for (subtype, label), members in sorted(groups.items(), key=lambda item: _worst_first(item[1], item[0]))
    ]
    names = _named(results, "subtype", "truth")
    columns = [*names, "patients", *_summary_columns(results)]
    return Table(f"By subtype, worst first: {name}", columns, [Group("", rows)], words=len(names))


def _named(results: StudyResults, subtype: str, label: str) -> list[str]:
    """Return subtype and label for a reader, or the subtype alone if the task tells subtypes apart."""
    return [plain(subtype), plain(label)] if results.kind.binary else [plain(subtype)]


def by_patient(results: StudyResults, images: Sequence[TestedImage], name: str) -> Table:
    """Return a table with a row for each patient, the worst first."""
    groups: dict[str, list[TestedImage]] = {}
    for image in images:
        groups.setdefault(image.record.patient, []).append(image)
    rows: list[list[Entry]] = [
        [
            patient,
            *_named(
                results, _all(image.record.subtype for image in members), _all(image.record.label for image in members)
            ),
            *_summary(results, members),
        ]
        for patient, members in sorted(groups.items(), key=lambda item: _worst_first(item[1], item[0]))
    ]
    names = ["patient", *_named(results, "subtype", "truth")]
    columns = [*names, *_summary_columns(results)]
    return Table(f"By patient, worst first: {name}", columns, [Group("", rows)], words=len(names))


def _all(names: Iterable[str]) -> str:
    return ", ".join(sorted({plain(name) for name in names}))


def _worst_first(members: Sequence[TestedImage], name: object) -> tuple[float, float, object]:
    """Return a sort key: the share of correct verdicts, then the number of wrong ones, then the name."""
    right = sum(image.right for image in members)
    return right / len(members), right - len(members), name


def _summary_columns(results: StudyResults) -> list[str]:
    return ["images", "correct", "share correct", f"mean share of votes: {_voted(results)}"]


def _voted(results: StudyResults) -> str:
    return results.classes[1] if results.kind.binary else "the truth"


def _summary(results: StudyResults, members: Sequence[TestedImage]) -> list[Entry]:
    right = sum(image.right for image in members)
    votes = np.mean([image.shares[1 if results.kind.binary else image.label] for image in members])
    return [len(members), f"{round(right, 2):g}", number(right / len(members)), number(float(votes))]


def most_wrong(images: Sequence[TestedImage]) -> list[TestedImage]:
    """Return the images with at least half of their verdicts wrong, the least probable truth first; at most `MOST`."""
    wrong = [image for image in images if image.right <= 0.5]  # noqa: PLR2004 (half)
    wrong.sort(key=lambda image: (float(image.probabilities[image.label]), image.record.file))
    return wrong[:MOST]


def gallery(results: StudyResults, images: Sequence[TestedImage], find_image: ImageFinder) -> Gallery:
    """Return thumbnails of images with their predictions.

    Args:
        results: Results of the study.
        images: The images to show.
        find_image: Returns the file of an image, or None if it is not available.
    """
    return Gallery([_thumbnail(results, image, find_image(image.record)) for image in images])


def _thumbnail(results: StudyResults, image: TestedImage, path: Path | None) -> Thumbnail:
    record = image.record
    likeliest = int(image.probabilities.argmax())
    shown = 1 if results.kind.binary else likeliest
    truth = plain(record.label)
    if record.subtype and record.subtype != record.label:
        truth += f", {plain(record.subtype)}"
    predicted = plain(results.classes[shown])
    votes, probability = percent(float(image.shares[shown])), number(float(image.probabilities[shown]))
    return Thumbnail(
        source="" if path is None else data_uri(path),
        alt=f"Micrograph {record.file}, {truth}",
        lines=[
            record.file,
            f"patient {record.patient}; truth: {truth}",
            f"{votes} of the votes for {predicted}, probability {probability}",
        ],
    )


def data_uri(path: Path) -> str:
    """Return a thumbnail of an image as a `data:` URI, or "" if the file cannot be read."""
    try:
        thumbnail = Image.fromarray(decode(path).pixels)
    except (OSError, DecodeError):
        return ""
    thumbnail.thumbnail((_WIDTH, _WIDTH))
    buffer = io.BytesIO()
    thumbnail.save(buffer, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def summarise_errors(images: Sequence[TestedImage]) -> str:
    """Return a sentence with the number of wrongly classified images."""
    wrong = sum(image.right <= 0.5 for image in images)  # noqa: PLR2004 (half)
    if not wrong:
        return f"All {counted(len(images), 'image')} were classified correctly."
    shown = f"; the {MOST} worst are shown" if wrong > MOST else ""
    return (
        f"{wrong:,} of {counted(len(images), 'image')} got a wrong verdict in at least half of the predictions{shown}. "
        "The first one is the image whose true class got the lowest probability."
    )
