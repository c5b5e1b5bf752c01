"""Where a candidate is right and where it is not: by subtype, by patient, and image by image."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier.imaging.decode import DecodeError, decode
from trainer.evaluation.candidates import ScoredCandidate
from trainer.evaluation.results import ImageRecord, StudyResults
from trainer.report.document import Entry, Gallery, Group, Table, Thumbnail
from trainer.report.formatting import counted, number, percent, plain

Floats = NDArray[np.float64]
Pictures = Callable[[ImageRecord], Path | None]

MOST = 12
"""Images shown of those that were called wrong."""

_WIDTH = 300
_QUALITY = 80


@dataclass(frozen=True)
class Tested:
    """One image with the mean of its predictions over the repeats.

    Attributes:
        record: The image.
        label: Its class number.
        right: Share of its verdicts that were right.
        shares: Of the votes for each class, of shape (classes,).
        probabilities: Calibrated, of shape (classes,).
    """

    record: ImageRecord
    label: int
    right: float
    shares: Floats
    probabilities: Floats


def tested(results: StudyResults, one: ScoredCandidate) -> list[Tested]:
    """All images that a candidate was tested on, in the study's order."""
    images, index = np.unique(one.found.image, return_inverse=True)
    counts = np.bincount(index)

    def mean(values: NDArray[np.generic]) -> Floats:
        return np.bincount(index, weights=values) / counts

    right = mean(one.right)
    shares = np.stack([mean(column) for column in one.found.scores.shares.T], axis=1)
    probabilities = np.stack([mean(column) for column in one.probabilities.T], axis=1)
    return [
        Tested(
            results.images[image], int(results.labels[image]), float(right[at]), shares[at], probabilities[at]
        )
        for at, image in enumerate(images.tolist())
    ]  # fmt: skip


def by_subtype(results: StudyResults, images: Sequence[Tested], name: str) -> Table:
    """A table with a row for each kind of tumour, worst first."""
    groups: dict[tuple[str, str], list[Tested]] = {}
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
    """Both, or the first alone where they are the same by the task."""
    return [plain(subtype), plain(label)] if results.kind.binary else [plain(subtype)]


def by_patient(results: StudyResults, images: Sequence[Tested], name: str) -> Table:
    """A table with a row for each patient, worst first."""
    groups: dict[str, list[Tested]] = {}
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


def _worst_first(members: Sequence[Tested], name: object) -> tuple[float, float, object]:
    """By the share right, then by the number wrong, then by name."""
    right = sum(image.right for image in members)
    return right / len(members), right - len(members), name


def _summary_columns(results: StudyResults) -> list[str]:
    return ["images", "right", "share right", f"mean share of votes: {_voted(results)}"]


def _voted(results: StudyResults) -> str:
    return results.classes[1] if results.kind.binary else "the truth"


def _summary(results: StudyResults, members: Sequence[Tested]) -> list[Entry]:
    right = sum(image.right for image in members)
    votes = np.mean([image.shares[1 if results.kind.binary else image.label] for image in members])
    return [len(members), f"{round(right, 2):g}", number(right / len(members)), number(float(votes))]


def most_wrong(images: Sequence[Tested]) -> list[Tested]:
    """The images called wrong in at least half of their verdicts, least probable truth first; at most `MOST`."""
    wrong = [image for image in images if image.right <= 0.5]  # noqa: PLR2004 (half)
    wrong.sort(key=lambda image: (float(image.probabilities[image.label]), image.record.file))
    return wrong[:MOST]


def gallery(results: StudyResults, images: Sequence[Tested], pictures: Pictures) -> Gallery:
    """Images with what was said of them.

    Args:
        results: The study.
        images: Those to show.
        pictures: Finds an image's file; None where it is not at hand.
    """
    return Gallery([_thumbnail(results, image, pictures(image.record)) for image in images])


def _thumbnail(results: StudyResults, image: Tested, path: Path | None) -> Thumbnail:
    record = image.record
    likeliest = int(image.probabilities.argmax())
    shown = 1 if results.kind.binary else likeliest
    truth = plain(record.label)
    if record.subtype and record.subtype != record.label:
        truth += f", {plain(record.subtype)}"
    said = plain(results.classes[shown])
    votes, probability = percent(float(image.shares[shown])), number(float(image.probabilities[shown]))
    return Thumbnail(
        source="" if path is None else data_uri(path),
        alt=f"Micrograph {record.file}, {truth}",
        lines=[
            record.file,
            f"patient {record.patient}; truth: {truth}",
            f"{votes} of the votes for {said}, probability {probability}",
        ],
    )


def data_uri(path: Path) -> str:
    """A thumbnail of an image as a `data:` address; "" where the file cannot be read."""
    try:
        picture = Image.fromarray(decode(path).pixels)
    except (OSError, DecodeError):
        return ""
    picture.thumbnail((_WIDTH, _WIDTH))
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def wrong_in_words(images: Sequence[Tested]) -> str:
    """How many were called wrong, in a sentence."""
    wrong = sum(image.right <= 0.5 for image in images)  # noqa: PLR2004 (half)
    if not wrong:
        return f"All {counted(len(images), 'image')} were called right."
    shown = f"; the {MOST} worst are shown" if wrong > MOST else ""
    return (
        f"{wrong:,} of {counted(len(images), 'image')} were called wrong in at least half of their verdicts{shown}. "
        "The first is the one whose truth was held least probable."
    )
