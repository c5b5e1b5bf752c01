"""Candidate against champion, on labelled images of patients that neither was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from classifier.bundle import image_hash, patient_hash, patient_key
from patchvote.jobs.models import State
from patchvote.jobs.signals import wake_up
from patchvote.registry import services as registry
from patchvote.registry.gate import Evidence
from patchvote.registry.models import ModelVersion
from patchvote.training import data_sets
from patchvote.training.job_handlers import Handler, NothingToDoError
from patchvote.training.models import Comparison, DataSet, DataSetImage
from trainer.worker.protocol import CompareOrder, Event, LabelledFile

if TYPE_CHECKING:
    from patchvote.accounts.models import User


class ComparisonRefusedError(ValueError):
    """Two versions that cannot be compared."""


_COUNTS = ("images", "patients", "benign", "malignant")


@dataclass(frozen=True)
class Chosen:
    """What two versions can be compared on.

    Attributes:
        images: Of patients that neither was trained on, no two with equal pixels.
        notes: What was left out and why, in sentences with their numbers: `(template, values)`.
    """

    images: list[DataSetImage]
    notes: list[tuple[str, dict[str, Any]]]


def start(candidate: ModelVersion, *, among: Sequence[DataSet] = (), by: User | None = None) -> Comparison:
    """Queue a comparison with the champion.

    Args:
        candidate: The version that might serve.
        among: Data sets to take images from; all that passed their check and are not synthetic when empty.
        by: Who asks.

    Raises:
        ComparisonRefusedError: If the candidate serves already, or there is no data set.
        NoChampionError: If nothing serves.
    """
    champion = registry.champion()
    if candidate == champion:
        raise ComparisonRefusedError(_("%(version)s is the champion already.") % {"version": candidate})
    chosen = list(among) or list(data_sets.usable().filter(synthetic=False))
    if not chosen:
        raise ComparisonRefusedError(
            _("There is no data set to compare on. Add one, of patients that are new to both.")
        )
    # Noted now: data sets can be deleted once the comparison has ended.
    noted = {"synthetic": any(data_set.synthetic for data_set in chosen)}
    comparison = Comparison(candidate=candidate, champion=champion, created_by=by, result=noted)
    with transaction.atomic():
        comparison.save(force_insert=True)
        comparison.data_sets.set(chosen)
        transaction.on_commit(_wake, robust=True)
    return comparison


def latest(candidate: ModelVersion, champion: ModelVersion) -> Comparison | None:
    """The newest comparison of two versions, whatever became of it."""
    return Comparison.objects.filter(candidate=candidate, champion=champion).first()


def latest_result(candidate: ModelVersion, champion: ModelVersion) -> Comparison | None:
    """The newest comparison of two versions that came to its end."""
    return Comparison.objects.filter(candidate=candidate, champion=champion, state=State.SUCCEEDED).first()


def evidence_for(candidate: ModelVersion, champion: ModelVersion) -> Evidence | None:
    """What the newest comparison of two versions showed; None where there is none."""
    comparison = latest_result(candidate, champion)
    if comparison is None:
        return None
    return Evidence.of(
        comparison.result,
        comparison=comparison.pk,
        champion=champion,
        candidate=candidate,
        champion_seen_known=champion.says_what_it_saw,
        candidate_seen_known=candidate.says_what_it_saw,
        synthetic=comparison.result.get("synthetic", False),
        notes=tuple(notes(comparison)),
    )


def promote(candidate: ModelVersion, *, by: User, reason: str = "") -> None:
    """Let a version serve new cases, if its comparison with the champion or a reason allows it.

    Raises:
        PromotionRefusedError: If the gate stands against it.
    """
    try:
        champion = registry.champion()
    except registry.NoChampionError:
        registry.promote(candidate, by=by, reason=reason)
        return
    evidence = evidence_for(candidate, champion)
    registry.promote(candidate, by=by, reason=reason, evidence=evidence, instead_of=champion)


def choose_images(comparison: Comparison) -> Chosen:
    """The images on which neither version has an advantage.

    Raises:
        BundleError: If a version's files are gone.
    """
    versions = (comparison.candidate, comparison.champion)
    rows = list(
        DataSetImage.objects.filter(data_set__in=comparison.data_sets.all())
        .select_related("data_set")
        .order_by("data_set__created_at", "patient", "sha256")
    )
    notes: list[tuple[str, dict[str, Any]]] = []
    known = _trained_on(rows, versions)  # of all rows: a crop, or another magnification, gives its patient away as well
    whole = [row for row in rows if row.whole]
    fitting = [row for row in whole if _fits(row, versions)]
    _note(notes, OTHER_MAGNIFICATION, len(whole) - len(fitting), magnifications=", ".join(_magnifications(versions)))
    unseen = [row for row in fitting if patient_key(row.patient) not in known]
    left_out = {patient_key(row.patient) for row in fitting} & known
    _note(notes, TRAINED_ON, len(fitting) - len(unseen), patients=len(left_out))
    notes += [(NOT_KNOWN, {"version": str(version)}) for version in versions if not version.says_what_it_saw]
    notes += [(CLAIMED, {"version": str(version)}) for version in versions if version.seen_claimed]
    single, contradicted = _once(unseen)
    _note(notes, CONTRADICTED, contradicted)
    return Chosen(single, notes)


OTHER_MAGNIFICATION = gettext_noop("%(count)d images are left out: both models are for %(magnifications)s.")
TRAINED_ON = gettext_noop(
    "%(count)d images of %(patients)d patients are left out: at least one of the models was trained on these patients."
)
NOT_KNOWN = gettext_noop("%(version)s does not say what it was trained on: it may have seen some of these patients.")
CLAIMED = gettext_noop("What %(version)s was trained on is what whoever uploaded it says.")
CONTRADICTED = gettext_noop("%(count)d images are left out: data sets contradict each other about them.")


def _note(notes: list[tuple[str, dict[str, Any]]], template: str, count: int, **values: Any) -> None:
    if count:
        notes.append((template, {"count": count, **values}))


def _magnifications(versions: Iterable[ModelVersion]) -> list[str]:
    """Those that all versions were made for."""
    candidate, champion = versions
    return [name for name in candidate.magnifications if name in champion.magnifications]


def _fits(row: DataSetImage, versions: tuple[ModelVersion, ModelVersion]) -> bool:
    return not row.magnification or row.magnification in _magnifications(versions)


def _trained_on(rows: Iterable[DataSetImage], versions: Iterable[ModelVersion]) -> set[str]:
    """The patients of whom a version was trained on any image, under whatever name it had them."""
    seen = [one for version in versions if (one := version.seen) is not None]
    # Sets: each of thousands of rows is looked up in them.
    patients = {patient for one in seen for patient in one.patients}
    images = {image for one in seen for image in one.images}
    return {
        patient_key(row.patient)
        for row in rows
        if patient_hash(row.patient) in patients or image_hash(row.sha256) in images
    }


def _once(rows: Iterable[DataSetImage]) -> tuple[list[DataSetImage], int]:
    """Each picture once, without those that data sets label or file differently; and how many these are."""
    truths: dict[str, set[tuple[str, str]]] = {}
    for row in rows:
        truths.setdefault(row.sha256, set()).add((row.label, patient_key(row.patient)))
    first = {row.sha256: row for row in rows if len(truths[row.sha256]) == 1}
    return list(first.values()), sum(len(truth) > 1 for truth in truths.values())


class ComparisonHandler(Handler[Comparison]):
    """Compares."""

    model = Comparison

    def order(self, job: Comparison) -> CompareOrder:
        """Both bundles, and the images on which neither has an advantage."""
        chosen = choose_images(job)
        job.notes = [[template, values] for template, values in chosen.notes]
        if not chosen.images:
            raise NothingToDoError({"notes": job.notes, "result": {**job.result, **dict.fromkeys(_COUNTS, 0)}})
        roots = {row.data_set_id: row.data_set.root for row in chosen.images}
        files = tuple(
            LabelledFile(
                path=roots[row.data_set_id] / row.path,
                sha256=row.sha256,
                label=row.label,
                patient=patient_key(row.patient),
                magnification=row.magnification,
            )
            for row in chosen.images
        )
        return CompareOrder(
            champion=job.champion.folder, candidate=job.candidate.folder, images=files, device=settings.TRAINING_DEVICE
        )

    def happened(self, job: Comparison, event: Event) -> None:
        """There is nothing but progress."""

    def succeeded(self, job: Comparison, result: dict[str, Any]) -> dict[str, Any]:
        """Keep the numbers."""
        return {"result": {**job.result, **result}, "notes": job.notes}

    def ended(self, job: Comparison) -> None:
        """There is nothing to tidy up."""


def _wake() -> None:
    wake_up.send(sender=Comparison)


def notes(comparison: Comparison) -> list[str]:
    """What was left out and why, in the reader's language."""
    return [_(template) % values for template, values in comparison.notes]
