"""How cases stand with their reviews: columns of the case, so that a hundred thousand cases are searched at once.

A case *awaits* a review when it has ended and an image has a verdict and no review (synthetic samples need none). It is
*reviewed* when there are reviews and it awaits none, and *disputed* where the latest review of an image says another
class than its current verdict; a case may be disputed and either of the others as well.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, F, OuterRef, Subquery

from patchvote.cases.models import Analysis, Case, Image, Review, Verdict
from patchvote.jobs.models import OPEN_STATES, State

COLUMNS = {"awaiting": "awaits_review", "reviewed": "is_reviewed", "disputed": "is_disputed"}
"""By the names that people filter by."""


def standing(case_id: Any, state: str) -> dict[str, bool]:
    """The columns of a case as they should be; read within the transaction that locks the case.

    Args:
        case_id: The case.
        state: Which it is about to have.
    """
    found = (
        Case.objects.filter(pk=case_id)
        .annotate(unreviewed=Exists(_unreviewed()), said=Exists(_said()), contradicted=Exists(_contradicted()))
        .values("synthetic", "unreviewed", "said", "contradicted")
        .get()
    )
    awaits = found["unreviewed"] and not found["synthetic"] and state not in OPEN_STATES
    return {
        "awaits_review": awaits,
        "is_reviewed": found["said"] and not awaits,
        "is_disputed": found["contradicted"],
    }


def _unreviewed() -> Any:
    """Images of a case that have a verdict and no review."""
    images = Image.objects.filter(case=OuterRef("pk"), analyses__current=True, analyses__state=State.SUCCEEDED)
    return images.filter(~Exists(Review.objects.filter(image=OuterRef("pk"))))


def _said() -> Any:
    """Reviews of a case."""
    return Review.objects.filter(image__case=OuterRef("pk"))


def _contradicted() -> Any:
    """Current analyses of a case whose verdict is not the latest review's."""
    said = Review.objects.filter(image=OuterRef("image")).order_by("-created_at", "-pk").values("label")[:1]
    current = Analysis.objects.filter(image__case=OuterRef("pk"), current=True, verdict__in=Verdict.values)
    judged = current.annotate(label=Subquery(said)).filter(label__in=Verdict.values)
    return judged.exclude(verdict=F("label"))
