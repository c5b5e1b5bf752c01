"""What a case's row says of its analyses and reviews: columns, so that a hundred thousand cases are searched at once.

A case *awaits* a review when it has ended and an image has a verdict and no review (synthetic samples need none). It is
*reviewed* when there are reviews and it awaits none, and *disputed* where the latest review of an image says another
class than its current verdict; a case may be disputed and either of the others as well.
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
    """The columns."""

    state: State
    verdict: str
    awaits_review: bool
    is_reviewed: bool
    is_disputed: bool


class _Analysed(NamedTuple):
    """An image's current analysis."""

    image: Any
    state: str
    verdict: str


def summarise(case_ids: Iterable[Any]) -> None:
    """Bring cases in line with their current analyses and their reviews; within a transaction.

    The cases are locked first, in one order everywhere, and read afterwards: of two workers that end the last two
    analyses of a case at the same moment, the second sees what the first one did. The number of queries does not grow
    with the cases, but for those that end up different.
    """
    locked = Case.objects.select_for_update().filter(pk__in=set(case_ids)).order_by("pk")
    synthetic = dict(locked.values_list("pk", "synthetic"))
    analyses: dict[Any, list[_Analysed]] = defaultdict(list)
    current = Analysis.objects.filter(image__case__in=list(synthetic), current=True).order_by()
    for pk, image, state, verdict in current.values_list("image__case", "image", "state", "verdict"):
        analyses[pk].append(_Analysed(image, state, verdict))
    labels: dict[Any, dict[Any, str]] = defaultdict(dict)
    said = Review.objects.filter(image__case__in=list(synthetic)).order_by("created_at", "pk")
    for pk, image, label in said.values_list("image__case", "image", "label"):
        labels[pk][image] = label  # the latest remains
    alike: dict[_Summary, list[Any]] = defaultdict(list)
    for pk in synthetic:
        alike[_summary(analyses[pk], labels[pk], synthetic=synthetic[pk])].append(pk)
    for summary, ids in alike.items():
        Case.objects.filter(pk__in=ids).update_and_bump_revision(**summary._asdict())


def _summary(analyses: Sequence[_Analysed], labels: Mapping[Any, str], *, synthetic: bool) -> _Summary:
    """Of one case, from its current analyses and the label that the latest review of each image gave (empty: unfit)."""
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
