"""Comparisons of a candidate with the champion: start one, and use its result as evidence for a promotion."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from classifier.bundle import patient_key
from patchvote.jobs.models import State
from patchvote.jobs.signals import wake_up
from patchvote.registry import promotions
from patchvote.registry.gate import Evidence
from patchvote.registry.models import ModelVersion
from patchvote.registry.services import NoChampionError, champion
from patchvote.training import data_sets
from patchvote.training.comparison_images import choose_images
from patchvote.training.job_handlers import Handler, NothingToDoError
from patchvote.training.models import Comparison, DataSet
from trainer.worker.protocol import CompareOrder, Event, LabelledFile

if TYPE_CHECKING:
    from patchvote.accounts.models import User

_COUNTS = ("images", "patients", "benign", "malignant")


class ComparisonRefusedError(ValueError):
    """The refusal of a comparison that cannot be made."""


def start(candidate: ModelVersion, *, among: Sequence[DataSet] = (), by: User | None = None) -> Comparison:
    """Queue a comparison of a version with the champion.

    Args:
        candidate: The version that may become champion.
        among: The data sets to take images from; if empty, all checked data sets that are not synthetic.
        by: The user who starts the comparison.

    Raises:
        ComparisonRefusedError: If the candidate is the champion, or there is no data set.
        NoChampionError: If there is no champion.
    """
    serving = champion()
    if candidate == serving:
        raise ComparisonRefusedError(_("%(version)s is the champion already.") % {"version": candidate})
    chosen = list(among) or list(data_sets.usable().filter(synthetic=False))
    if not chosen:
        raise ComparisonRefusedError(
            _("There is no data set to compare on. Add one with patients that neither model was trained on.")
        )
    # Stored now, because the data sets can be deleted once the comparison has ended.
    result = {"synthetic": any(data_set.synthetic for data_set in chosen)}
    comparison = Comparison(candidate=candidate, champion=serving, created_by=by, result=result)
    with transaction.atomic():
        comparison.save(force_insert=True)
        comparison.data_sets.set(chosen)
        transaction.on_commit(partial(wake_up.send, sender=Comparison), robust=True)
    return comparison


def latest(candidate: ModelVersion, champion: ModelVersion) -> Comparison | None:
    """Return the newest comparison of two versions, whatever its state."""
    return Comparison.objects.filter(candidate=candidate, champion=champion).first()


def latest_result(candidate: ModelVersion, champion: ModelVersion) -> Comparison | None:
    """Return the newest successful comparison of two versions."""
    return Comparison.objects.filter(candidate=candidate, champion=champion, state=State.SUCCEEDED).first()


def evidence_for(candidate: ModelVersion, champion: ModelVersion) -> Evidence | None:
    """Return the result of the newest successful comparison of two versions; None if there is none."""
    comparison = latest_result(candidate, champion)
    if comparison is None:
        return None
    return Evidence.of(
        comparison.result,
        comparison=comparison.pk,
        champion=champion,
        candidate=candidate,
        champion_seen_known=champion.seen_known,
        candidate_seen_known=candidate.seen_known,
        synthetic=comparison.result.get("synthetic", False),
        notes=tuple(notes(comparison)),
    )


def notes(comparison: Comparison) -> list[str]:
    """Return what was left out and why, in the active language."""
    return [_(template) % values for template, values in comparison.notes]


def promote(candidate: ModelVersion, *, by: User, reason: str = "") -> None:
    """Make a version the champion, if its newest comparison with the champion or a reason allows it.

    Raises:
        PromotionRefusedError: If the gate refuses.
    """
    try:
        serving = champion()
    except NoChampionError:
        promotions.promote(candidate, by=by, reason=reason)
        return
    evidence = evidence_for(candidate, serving)
    promotions.promote(candidate, by=by, reason=reason, evidence=evidence, instead_of=serving)


class ComparisonHandler(Handler[Comparison]):
    """The handler of comparisons."""

    model = Comparison

    def create_order(self, job: Comparison) -> CompareOrder:
        """Return the order: both bundles, and the images on which neither has an advantage.

        Raises:
            NothingToDoError: If there is no such image.
        """
        selection = choose_images(job)
        job.notes = [[template, values] for template, values in selection.notes]
        if not selection.images:
            raise NothingToDoError({"notes": job.notes, "result": {**job.result, **dict.fromkeys(_COUNTS, 0)}})
        roots = {row.data_set_id: row.data_set.root for row in selection.images}
        files = tuple(
            LabelledFile(
                path=roots[row.data_set_id] / row.path,
                sha256=row.sha256,
                label=row.label,
                patient=patient_key(row.patient),
                magnification=row.magnification,
            )
            for row in selection.images
        )
        return CompareOrder(
            champion=job.champion.folder, candidate=job.candidate.folder, images=files, device=settings.TRAINING_DEVICE
        )

    def handle_event(self, job: Comparison, event: Event) -> None:
        """Do nothing: the child sends no other events than progress."""

    def store_result(self, job: Comparison, result: dict[str, Any]) -> dict[str, Any]:
        """Return the metrics and the notes for the job's row."""
        return {"result": {**job.result, **result}, "notes": job.notes}

    def clean_up(self, job: Comparison) -> None:
        """Do nothing: a comparison leaves no files to delete."""
