"""The choice of images for a comparison: labelled images of patients that neither model version was trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_noop

from classifier.bundle import image_hash, patient_hash, patient_key
from patchvote.registry.models import ModelVersion
from patchvote.training.models import Comparison, DataSetImage

OTHER_MAGNIFICATION = gettext_noop("%(count)d images are left out: both models are for %(magnifications)s.")
TRAINED_ON = gettext_noop(
    "%(count)d images of %(patients)d patients are left out: at least one of the models was trained on these patients."
)
NOT_KNOWN = gettext_noop("%(version)s does not say what it was trained on: it may have seen some of these patients.")
CLAIMED = gettext_noop("What %(version)s was trained on is what whoever uploaded it says.")
CONTRADICTED = gettext_noop("%(count)d images are left out: data sets contradict each other about them.")


@dataclass(frozen=True)
class ImageSelection:
    """The images that two model versions are compared on.

    Attributes:
        images: The images, of patients that neither version was trained on; no two have equal pixels.
        notes: What was left out and why: pairs of a message template and its values.
    """

    images: list[DataSetImage]
    notes: list[tuple[str, dict[str, Any]]]


def choose_images(comparison: Comparison) -> ImageSelection:
    """Choose the images on which neither model version has an advantage.

    Raises:
        BundleError: If the files of a model version are missing.
    """
    versions = (comparison.candidate, comparison.champion)
    rows = list(
        DataSetImage.objects.filter(data_set__in=comparison.data_sets.all())
        .select_related("data_set")
        .order_by("data_set__created_at", "patient", "sha256")
    )
    notes: list[tuple[str, dict[str, Any]]] = []
    # Looks at all rows: a crop or an image of another magnification also shows that its patient was trained on.
    known = _trained_patients(rows, versions)
    whole = [row for row in rows if row.whole]
    fitting = [row for row in whole if _fits(row, versions)]
    _note(notes, OTHER_MAGNIFICATION, len(whole) - len(fitting), magnifications=", ".join(_magnifications(versions)))
    unseen = [row for row in fitting if patient_key(row.patient) not in known]
    left_out = {patient_key(row.patient) for row in fitting} & known
    _note(notes, TRAINED_ON, len(fitting) - len(unseen), patients=len(left_out))
    notes += [(NOT_KNOWN, {"version": str(version)}) for version in versions if not version.seen_known]
    notes += [(CLAIMED, {"version": str(version)}) for version in versions if version.seen_claimed]
    distinct, contradicted = _without_duplicates(unseen)
    _note(notes, CONTRADICTED, contradicted)
    return ImageSelection(distinct, notes)


def _note(notes: list[tuple[str, dict[str, Any]]], template: str, count: int, **values: Any) -> None:
    if count:
        notes.append((template, {"count": count, **values}))


def _magnifications(versions: Iterable[ModelVersion]) -> list[str]:
    """Return the magnifications that both versions were trained for."""
    candidate, champion = versions
    return [name for name in candidate.magnifications if name in champion.magnifications]


def _fits(row: DataSetImage, versions: tuple[ModelVersion, ModelVersion]) -> bool:
    return not row.magnification or row.magnification in _magnifications(versions)


def _trained_patients(rows: Iterable[DataSetImage], versions: Iterable[ModelVersion]) -> set[str]:
    """Return the patients of whom a version was trained on any image, whatever name they had there."""
    seen = [one for version in versions if (one := version.seen) is not None]
    # Sets, because each of thousands of rows is looked up in them.
    patients = {patient for one in seen for patient in one.patients}
    images = {image for one in seen for image in one.images}
    return {
        patient_key(row.patient)
        for row in rows
        if patient_hash(row.patient) in patients or image_hash(row.sha256) in images
    }


def _without_duplicates(rows: Iterable[DataSetImage]) -> tuple[list[DataSetImage], int]:
    """Return one row per image, and the number of images left out because data sets disagree on label or patient."""
    truths: dict[str, set[tuple[str, str]]] = {}
    for row in rows:
        truths.setdefault(row.sha256, set()).add((row.label, patient_key(row.patient)))
    last = {row.sha256: row for row in rows if len(truths[row.sha256]) == 1}
    return list(last.values()), sum(len(truth) > 1 for truth in truths.values())
