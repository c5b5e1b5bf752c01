"""Columns of a case that summarise its analyses and reviews, so that filtering a hundred thousand cases is fast.

A case *awaits a review* when it has ended and an image has a verdict but no review (synthetic samples need none). It is
*reviewed* when it has reviews and awaits none. It is *disputed* when the latest review of an image gives another class
than the image's current verdict; a disputed case may also await a review or be reviewed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from patchvote.cases.models import Analysis, Case, Review, Verdict
from patchvote.jobs.models import OPEN_STATES, State

REVIEW_STATUS_COLUMNS = {"awaiting": "awaits_review", "reviewed": "is_reviewed", "disputed": "is_disputed"}
"""The columns that hold a case's review status, by the values of the filter `review`."""


class _Summary(NamedTuple):
    """The values of the summary columns of a case."""

    state: State
    verdict: str
    awaits_review: bool
    is_reviewed: bool
    is_disputed: bool


class _Analysed(NamedTuple):
    """The current analysis of an image."""

    image: Any
    state: str
    verdict: str


def summarise(case_ids: Iterable[Any]) -> None:
    """Update the summary columns of cases from their current analyses and reviews. Requires a transaction.

    The cases are locked first, always in the same order, and read afterwards: if two workers end the last two analyses
    of a case at the same time, the second one sees the result of the first. The number of queries grows with the number
    of different summaries, not with the number of cases.
    """
    locked = Case.objects.select_for_update().filter(pk__in=set(case_ids)).order_by("pk")
    synthetic = dict(locked.values_list("pk", "synthetic"))
    analyses: dict[Any, list[_Analysed]] = defaultdict(list)
    current = Analysis.objects.filter(image__case__in=list(synthetic), current=True).order_by()
    for pk, image, state, verdict in current.values_list("image__case", "image", "state", "verdict"):
        analyses[pk].append(_Analysed(image, state, verdict))
    labels: dict[Any, dict[Any, str]] = defaultdict(dict)
    reviews = Review.objects.filter(image__case__in=list(synthetic)).order_by("created_at", "pk")
    for pk, image, label in reviews.values_list("image__case", "image", "label"):
        labels[pk][image] = label  # the latest one remains
    ids_by_summary: dict[_Summary, list[Any]] = defaultdict(list)
    for pk in synthetic:
        ids_by_summary[_summary(analyses[pk], labels[pk], synthetic=synthetic[pk])].append(pk)
    for summary, ids in ids_by_summary.items():
        Case.objects.filter(pk__in=ids).update_and_bump_revision(**summary._asdict())


def _summary(analyses: Sequence[_Analysed], labels: Mapping[Any, str], *, synthetic: bool) -> _Summary:
    """Summarise a case.

    Args:
        analyses: The current analyses.
        labels: The label of the latest review, by image; empty for an unfit image.
        synthetic: Whether the case is a synthetic sample.
    """
    state = _state({analysed.state for analysed in analyses})
    succeeded = [analysed for analysed in analyses if analysed.state == State.SUCCEEDED]
    unreviewed = any(analysed.image not in labels for analysed in succeeded)
    awaits = unreviewed and not synthetic and state not in OPEN_STATES
    return _Summary(
        state=state,
        verdict=max((one.verdict for one in analyses), key=Verdict.values.index) if state == State.SUCCEEDED else "",
        awaits_review=awaits,
        is_reviewed=bool(labels) and not awaits,
        is_disputed=any(labels.get(one.image) and labels[one.image] != one.verdict for one in succeeded),
    )


def _state(states: set[str]) -> State:
    if states.intersection(OPEN_STATES):
        return State.QUEUED if states == {State.QUEUED} else State.RUNNING
    for final in (State.FAILED, State.CANCELLED):
        if final in states:
            return final
    return State.SUCCEEDED


def ids_by_review_status(cases: Iterable[Case]) -> dict[str, set[Any]]:
    """Return the ids of the cases with each review status, by the values of the filter `review`."""
    cases = list(cases)
    return {
        name: {case.pk for case in cases if getattr(case, column)} for name, column in REVIEW_STATUS_COLUMNS.items()
    }
