"""Operations on stored cases: cancel, analyse again, report progress, find duplicates."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils.translation import gettext as _

from patchvote.accounts import audit
from patchvote.cases.models import Analysis, Case, Image
from patchvote.cases.summaries import summarise
from patchvote.jobs import ledger
from patchvote.jobs.signals import wake_up
from patchvote.registry.models import ModelVersion
from patchvote.registry.services import champion

if TYPE_CHECKING:
    from patchvote.accounts.models import User

logger = logging.getLogger(__name__)


class StateError(ValueError):
    """The refusal of an operation that the state of a case does not allow."""


class UnsuitedError(StateError):
    """The refusal of a model version that cannot analyse the images of a case."""


def analyse_again(case: Case, version: ModelVersion | None = None) -> None:
    """Queue a new analysis for each image; the old analyses are kept.

    Args:
        case: The case whose images are analysed.
        version: The model version; the current champion if None.

    Raises:
        StateError: If an analysis of the case has not ended.
        UnsuitedError: If an image is too small for the version, or the version's files are missing.
        NoChampionError: If no model version is champion.
    """
    model_version = version or champion()
    with transaction.atomic():
        # The lock makes simultaneous requests follow each other: the second one finds open analyses.
        locked = Case.objects.select_for_update().get(pk=case.pk)
        if not locked.ended:
            raise StateError(_("This case is still being analysed. Cancel it first, or wait."))
        images = list(locked.images.all())
        _check_suited(model_version, images)
        Analysis.objects.filter(image__in=images, current=True).update(current=False)
        Analysis.objects.bulk_create([Analysis(image=image, model_version=model_version) for image in images])
        summarise([locked.pk])
        audit.record(None, "analysed_again", locked, model=str(model_version))
        transaction.on_commit(partial(wake_up.send, sender=Analysis), robust=True)
    logger.info("case queued for a new analysis", extra={"case": str(case.pk), "images": len(images)})
    case.refresh_from_db()


def cancel(case: Case) -> None:
    """Cancel the analyses of a case that have not ended; existing results are kept.

    Raises:
        StateError: If all analyses have ended.
    """
    open_ids = list(Analysis.objects.filter(image__case=case, current=True).values_list("pk", flat=True))
    if not ledger.cancel(Analysis, open_ids):
        raise StateError(_("There is nothing to cancel: the analyses of this case have ended."))
    audit.record(None, "cancelled", case)
    case.refresh_from_db()


def report_progress(analyses: Sequence[Analysis], share: float) -> bool:
    """Store the progress of running analyses that are computed together.

    Args:
        analyses: The claimed analyses.
        share: The computed share of the work, 0..1.

    Returns:
        False if the worker holds none of them any more.
    """
    with transaction.atomic():
        # All code locks rows in this order.
        held = sum(ledger.report(one, progress=share) for one in sorted(analyses, key=lambda one: one.pk))
        cases = Case.objects.select_for_update().filter(images__analyses__in=analyses)
        locked = list(cases.order_by("pk").values_list("pk", flat=True))
        Case.objects.filter(pk__in=locked).update_and_bump_revision()
    return bool(held)


def duplicates_of(image: Image, user: User) -> list[Image]:
    """Return up to five other images with equal pixels that the user may see, oldest first."""
    same = Image.objects.visible_to(user).filter(sha256=image.sha256).exclude(pk=image.pk)
    return list(same.select_related("case").order_by("case__created_at")[:5])


def _check_suited(version: ModelVersion, images: Sequence[Image]) -> None:
    if not version.folder.exists():
        raise UnsuitedError(_("The files of %(model)s are missing. Choose another version.") % {"model": version})
    if any(min(image.width, image.height) < version.patch_size for image in images):
        message = _("%(model)s needs images of at least %(side)d pixels on both sides. Choose another version.")
        raise UnsuitedError(message % {"model": version, "side": version.patch_size})
