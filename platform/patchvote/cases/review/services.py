"""Add reviews, and find the cases that await one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.translation import gettext as _

from patchvote.cases.models import Analysis, Case, Decision, Image, Review, other_class
from patchvote.cases.review import agreement
from patchvote.cases.services import StateError
from patchvote.cases.summaries import summarise
from patchvote.jobs.models import OPEN_STATES, State

if TYPE_CHECKING:
    from patchvote.accounts.models import User


def review(image: Image, reviewer: User, decision: str, *, comment: str = "", analysis_id: Any = None) -> Review:
    """Add a review of an image and its current analysis. If the reviewer repeats the latest review, nothing is added.

    Args:
        image: The image.
        reviewer: The reviewer; the caller checks the permission.
        decision: One of `Decision`. Confirming and correcting need a verdict; an image can be marked as unfit as soon
            as its analysis has ended, in whatever state.
        comment: An optional comment.
        analysis_id: The analysis that the reviewer saw; the current one if None.

    Returns:
        The new review, or the latest one if it is the same.

    Raises:
        StateError: If there is no verdict yet, or the image was analysed again since the reviewer saw it.
    """
    with transaction.atomic():
        case = Case.objects.select_for_update().get(pk=image.case_id)  # no new analysis can start meanwhile
        analysis = image.analyses.defer("votes").get(current=True)
        if analysis_id is not None and analysis.pk != analysis_id:
            raise StateError(_("The image has been analysed again. Look at the new verdict before you review it."))
        if analysis.state in OPEN_STATES:
            raise StateError(_("The image is still being analysed. Review it when the verdict is available."))
        if decision != Decision.UNFIT and analysis.state != State.SUCCEEDED:
            raise StateError(_("There is no verdict to confirm or correct. Analyse again, or mark the image as unfit."))
        new = Review(image=image, analysis=analysis, reviewer=reviewer, decision=decision, comment=comment)
        new.label = _label(analysis, decision)
        latest = image.reviews.first()
        if latest and _content(latest) == _content(new):
            return latest
        new.save(force_insert=True)
        summarise([case.pk])
        agreement.update_tally(new)
    return new


def _label(analysis: Analysis, decision: str) -> str:
    if decision == Decision.UNFIT:
        return ""
    return other_class(analysis.verdict) if decision == Decision.CORRECTED else analysis.verdict


def _content(review: Review) -> tuple[Any, ...]:
    return review.analysis_id, review.reviewer_id, review.decision, review.comment


def next_case(after: Case | None = None) -> Case | None:
    """Return the case that has waited longest for a review.

    Args:
        after: Return the next case after this one in order of submission; after the last case, the first one.
    """
    waiting = Case.objects.filter(awaits_review=True).order_by("created_at", "pk")
    if after is None:
        return waiting.first()
    others = waiting.exclude(pk=after.pk)
    return others.filter(created_at__gte=after.created_at).first() or others.first()
