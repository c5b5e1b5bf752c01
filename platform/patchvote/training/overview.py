"""What a data set holds, counted for its page."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from django.db.models import Count, F, OuterRef, Q, Subquery

from patchvote.jobs.models import State
from patchvote.training.models import DataSet, DataSetImage
from trainer.data.records import CLASSES, MAGNIFICATIONS


@dataclass(frozen=True)
class Row:
    """Images and patients of one class at each magnification."""

    label: str
    images: list[int]
    total: int
    patients: int


@dataclass(frozen=True)
class Patient:
    """One patient's images."""

    name: str
    labels: list[str]
    magnifications: str
    images: int


@dataclass(frozen=True)
class Shared:
    """Images that another data set holds as well.

    Attributes:
        data_set: The other one.
        images: With equal pixels.
        patients: Of this data set, whose images these are.
        contradictions: How many of the images have another label there.
    """

    data_set: DataSet
    images: int
    patients: int
    contradictions: int


@dataclass(frozen=True)
class Overview:
    """A data set at a glance.

    Attributes:
        magnifications: Those that occur, "" where nobody says.
        rows: One for each class.
        patients: Those with the most images first.
        crops: Images that are not whole micrographs.
        shared: Other data sets with equal images, those with the most first.
        thumbnails: Some images of each class.
    """

    magnifications: list[str]
    rows: list[Row]
    patients: list[Patient]
    crops: int
    shared: list[Shared]
    thumbnails: list[DataSetImage]


THUMBNAILS = 8
"""Of each class."""


def overview(data_set: DataSet) -> Overview:
    """Count a data set that passed its check."""
    images = data_set.images.all()
    counted = images.values("label", "magnification").annotate(images=Count("pk")).order_by()
    counts = {(row["label"], row["magnification"]): row["images"] for row in counted}
    present = [name for name in (*MAGNIFICATIONS, "") if any(magnification == name for _, magnification in counts)]
    people = dict(images.values_list("label").annotate(Count("patient", distinct=True)).order_by())
    rows = [
        Row(label, [counts.get((label, name), 0) for name in present], total, people.get(label, 0))
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


def _patients(data_set: DataSet) -> list[Patient]:
    found: dict[str, Counter[tuple[str, str]]] = {}
    for row in data_set.images.values("patient", "label", "magnification").annotate(images=Count("pk")).order_by():
        found.setdefault(row["patient"], Counter())[row["label"], row["magnification"]] += row["images"]
    people = [
        Patient(
            name,
            [label for label in CLASSES if any(one == label for one, _ in counts)],
            ", ".join(name for name in MAGNIFICATIONS if any(one == name for _, one in counts)),
            counts.total(),
        )
        for name, counts in found.items()
    ]
    return sorted(people, key=lambda patient: (-patient.images, patient.name))


def _shared(data_set: DataSet) -> list[Shared]:
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
    return [Shared(others[row["data_set"]], row["images"], row["patients"], row["contradictions"]) for row in rows]


def _spread(data_set: DataSet, label: str) -> list[DataSetImage]:
    """Some images of a class, of as many patients as possible."""
    first: dict[str, DataSetImage] = {}
    for image in data_set.images.filter(label=label).order_by("pk")[:2000]:
        first.setdefault(image.patient, image)
    return list(first.values())[:THUMBNAILS]
