"""Reviews: adding them, what waits for one, and what can be learnt from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from classifier.bundle import patient_key
from patchvote.cases.models import Analysis, Case, Decision, Image, Review, Verdict
from patchvote.cases.review import agreement
from patchvote.cases.services import StateError
from patchvote.cases.summaries import REVIEW_STATUS_COLUMNS, summarise
from patchvote.jobs.models import OPEN_STATES, State

if TYPE_CHECKING:
    from patchvote.accounts.models import User

MAY_REVIEW = "cases.add_review"
"""The permission of reviewers and admins."""


def review(image: Image, reviewer: User, decision: str, *, comment: str = "", analysis_id: Any = None) -> Review:
    """Add a reviewer's word on an image's current analysis. The same word again, from the same person, adds nothing.

    Args:
        image: The image.
        reviewer: Who says it; whether the person may is checked by the caller.
        decision: One of `Decision`. A verdict can be confirmed or corrected once there is one; an image can be called
            unfit as soon as its analysis has ended, however it ended.
        comment: For those who read it later.
        analysis_id: The analysis that the reviewer saw; the current one when None.

    Raises:
        StateError: If there is no verdict yet, or the image was analysed again since the reviewer saw it.
    """
    with transaction.atomic():
        case = Case.objects.select_for_update().get(pk=image.case_id)  # nobody analyses again at this moment
        analysis = image.analyses.defer("votes").get(current=True)
        if analysis_id is not None and analysis.pk != analysis_id:
            raise StateError(_("The image was analysed again meanwhile. Look at the new verdict, then review it."))
        if analysis.state in OPEN_STATES:
            raise StateError(_("The image is still being analysed. Review it when its verdict is there."))
        if decision != Decision.UNFIT and analysis.state != State.SUCCEEDED:
            raise StateError(_("There is no verdict to confirm or correct. Analyse again, or mark the image as unfit."))
        new = Review(image=image, analysis=analysis, reviewer=reviewer, decision=decision, comment=comment)
        new.label = _label(analysis, decision)
        latest = image.reviews.first()
        if latest and _content(latest) == _content(new):
            return latest
        new.save(force_insert=True)
        summarise([case.pk])
        agreement.count(new)
    return new


def other(verdict: str) -> Verdict:
    """The class that a verdict is not."""
    return Verdict.BENIGN if verdict == Verdict.MALIGNANT else Verdict.MALIGNANT


def _label(analysis: Analysis, decision: str) -> str:
    if decision == Decision.UNFIT:
        return ""
    return other(analysis.verdict) if decision == Decision.CORRECTED else analysis.verdict


def _content(said: Review) -> tuple[Any, ...]:
    return said.analysis_id, said.reviewer_id, said.decision, said.comment


# --- what waits for a review ------------------------------------------------------------------------------------------


def ids_by_review_status(cases: Iterable[Case]) -> dict[str, set[Any]]:
    """Return the ids of the cases with each review status, by the values of the filter `review`."""
    cases = list(cases)
    return {
        name: {case.pk for case in cases if getattr(case, column)} for name, column in REVIEW_STATUS_COLUMNS.items()
    }


def next_case(after: Case | None = None) -> Case | None:
    """The case that waits longest for a review; after a case, the next one in that order, and from the first again."""
    waiting = Case.objects.filter(awaits_review=True).order_by("created_at", "pk")
    if after is None:
        return waiting.first()
    others = waiting.exclude(pk=after.pk)
    return others.filter(created_at__gte=after.created_at).first() or others.first()


# --- data sets of reviewed cases --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReviewedImage:
    """An image with the label that a reviewer gave it.

    Attributes:
        patient: Whose image it is: the case's reference, without regard to blanks and capitals; without one the case.
    """

    image: Image
    label: str
    patient: str
    magnification: str
    reviewer: User
    reviewed_at: datetime


@dataclass(frozen=True)
class ReviewedImages:
    """What a data set can be made of, and what was left out, in sentences for a person."""

    images: list[ReviewedImage]
    notes: list[str]


def reviewed_images(
    *,
    magnification: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    only_corrected: bool = False,
) -> ReviewedImages:
    """Images with their reviewers' labels, each picture once, the latest review first.

    Of equal pictures the newest review counts, whatever the other parameters leave out: what was superseded later is
    not taken, even if it was said within the span. Synthetic samples and unfit images are left out.

    Args:
        magnification: Of the case; any when None.
        since: The first moment of the reviews.
        until: The first moment that does not belong to them any more.
        only_corrected: Only those that a reviewer corrected.
    """

    def asked(said: Review) -> bool:
        return (
            magnification in {None, said.image.case.magnification}
            and (since is None or said.created_at >= since)
            and (until is None or said.created_at < until)
        )

    latest = Review.objects.latest_of_each_image().select_related("image__case", "reviewer")
    newest: dict[str, Review] = {}
    real = latest.filter(image__case__synthetic=False)  # newest first
    older = [said for said in real if newest.setdefault(said.image.sha256, said) is not said]
    wanted = [said for said in newest.values() if asked(said)]
    chosen = [said for said in wanted if said.label and (not only_corrected or said.decision == Decision.CORRECTED)]
    labels = {said.image.sha256: said.label for said in chosen}
    twins = [said for said in older if said.image.sha256 in labels]
    return ReviewedImages(
        [_reviewed_image(said) for said in chosen],
        list(
            _notes(
                unfit=sum(not said.label for said in wanted),
                synthetic=sum(asked(said) for said in latest.filter(image__case__synthetic=True)),
                twins=len(twins),
                contradictions=sum(said.label not in {"", labels[said.image.sha256]} for said in twins),
                nameless=len({said.image.case_id for said in chosen if not _patient(said.image.case)}),
            )
        ),
    )


def _reviewed_image(said: Review) -> ReviewedImage:
    case = said.image.case
    return ReviewedImage(
        image=said.image,
        label=said.label,
        patient=_patient(case) or str(case.pk),
        magnification=case.magnification,
        reviewer=said.reviewer,
        reviewed_at=said.created_at,
    )


def _patient(case: Case) -> str:
    return patient_key(case.reference)


def _notes(*, unfit: int, synthetic: int, twins: int, contradictions: int, nameless: int) -> Iterable[str]:
    if unfit:
        yield ngettext(
            "%(n)d image was left out: it was marked as unfit.",
            "%(n)d images were left out: they were marked as unfit.",
            unfit,
        ) % {"n": unfit}
    if synthetic:
        yield ngettext(
            "%(n)d image was left out: it is a synthetic sample.",
            "%(n)d images were left out: they are synthetic samples.",
            synthetic,
        ) % {"n": synthetic}
    if twins:
        yield ngettext(
            "%(n)d review was left out: the same picture has a newer one.",
            "%(n)d reviews were left out: the same pictures have newer ones.",
            twins,
        ) % {"n": twins}
    if contradictions:
        yield ngettext(
            "%(n)d of them says another class than the newer one, which counts.",
            "%(n)d of them say another class than the newer ones, which count.",
            contradictions,
        ) % {"n": contradictions}
    if nameless:
        yield ngettext(
            "%(n)d case has no reference: it is taken for a patient of its own.",
            "%(n)d cases have no reference: each is taken for a patient of its own.",
            nameless,
        ) % {"n": nameless}
