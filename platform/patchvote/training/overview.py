"""The overview of a data set on its page: counts of images and patients, and duplicates in other data sets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from django.db.models import Count, F, OuterRef, Q, Subquery

from patchvote.jobs.models import State
from patchvote.training.models import DataSet, DataSetImage
from trainer.data.records import CLASSES, MAGNIFICATIONS


@dataclass(frozen=True)
class ClassRow:
    """The numbers of images and patients of one class.

    Attributes:
        label: The class.
        images: The number of images at each magnification of the overview.
        total: The number of images.
        patients: The number of patients.
    """

    label: str
    images: list[int]
    total: int
    patients: int


@dataclass(frozen=True)
class PatientRow:
    """The images of one patient.

    Attributes:
        name: The patient.
        labels: The classes of the images.
        magnifications: The magnifications of the images, separated by commas.
        images: The number of images.
    """

    name: str
    labels: list[str]
    magnifications: str
    images: int


@dataclass(frozen=True)
class SharedRow:
    """The images that another data set contains, too.

    Attributes:
        data_set: The other data set.
        images: The number of images with equal pixels.
        patients: The number of patients of this data set with such images.
        contradictions: The number of these images with another label in the other data set.
    """

    data_set: DataSet
    images: int
    patients: int
    contradictions: int


@dataclass(frozen=True)
class Overview:
    """The overview of a data set.

    Attributes:
        magnifications: The magnifications that occur; "" for images of unknown magnification.
        rows: One row per class.
        patients: One row per patient, the ones with the most images first.
        crops: The number of images that are not whole micrographs.
        shared: One row per data set with equal images, the ones with the most first.
        thumbnails: Some images of each class.
    """

    magnifications: list[str]
    rows: list[ClassRow]
    patients: list[PatientRow]
    crops: int
    shared: list[SharedRow]
    thumbnails: list[DataSetImage]


THUMBNAILS = 8
"""The number of thumbnails per class."""


def overview(data_set: DataSet) -> Overview:
    """Compute the overview of a data set that passed its check."""
    images = data_set.images.all()
    counted = images.values("label", "magnification").annotate(images=Count("pk")).order_by()
    counts = {(row["label"], row["magnification"]): row["images"] for row in counted}
    present = [name for name in (*MAGNIFICATIONS, "") if any(magnification == name for _, magnification in counts)]
    patient_counts = dict(images.values_list("label").annotate(Count("patient", distinct=True)).order_by())
    rows = [
        ClassRow(label, [counts.get((label, name), 0) for name in present], total, patient_counts.get(label, 0))
        for label in CLASSES
        if (total := sum(count for (one, _), count in counts.items() if one == label))
    ]
    return Overview(
        magnifications=present,
        rows=rows,
        patients=_patients(data_set),
        crops=images.filter(whole=False).count(),
        shared=_shared(data_set),
        thumbnails=[image for label in CLASSES for image in _spread(data_set, label)],
    )


def _patients(data_set: DataSet) -> list[PatientRow]:
    found: dict[str, Counter[tuple[str, str]]] = {}
    for row in data_set.images.values("patient", "label", "magnification").annotate(images=Count("pk")).order_by():
        found.setdefault(row["patient"], Counter())[row["label"], row["magnification"]] += row["images"]
    rows = [
        PatientRow(
            name,
            [label for label in CLASSES if any(one == label for one, _ in counts)],
            ", ".join(name for name in MAGNIFICATIONS if any(one == name for _, one in counts)),
            counts.total(),
        )
        for name, counts in found.items()
    ]
    return sorted(rows, key=lambda patient: (-patient.images, patient.name))


def _shared(data_set: DataSet) -> list[SharedRow]:
    mine = data_set.images.filter(sha256=OuterRef("sha256"))
    rows = (
        DataSetImage.objects.filter(sha256__in=data_set.images.values("sha256"), data_set__state=State.SUCCEEDED)
        .exclude(data_set=data_set)
        .annotate(here=Subquery(mine.values("label")[:1]), patient_here=Subquery(mine.values("patient")[:1]))
        .values("data_set")
        .annotate(
            images=Count("pk"),
            patients=Count("patient_here", distinct=True),
            contradictions=Count("pk", filter=~Q(label=F("here"))),
        )
        .order_by("-images")
    )
    others = DataSet.objects.in_bulk([row["data_set"] for row in rows])
    return [SharedRow(others[row["data_set"]], row["images"], row["patients"], row["contradictions"]) for row in rows]


def _spread(data_set: DataSet, label: str) -> list[DataSetImage]:
    """Return some images of a class, each of another patient."""
    first: dict[str, DataSetImage] = {}
    for image in data_set.images.filter(label=label).order_by("pk")[:2000]:
        first.setdefault(image.patient, image)
    return list(first.values())[:THUMBNAILS]
