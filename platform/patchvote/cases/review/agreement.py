"""How far models and reviewers agree: in all, by model version, over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from datetime import date, timedelta
from functools import cached_property
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from patchvote.cases.models import Decision, Review, ReviewTally, Verdict
from patchvote.registry.models import ModelVersion

_NAMES: dict[tuple[str, str], str] = {
    (Decision.CONFIRMED, Verdict.BENIGN): "confirmed",
    (Decision.CONFIRMED, Verdict.MALIGNANT): "confirmed",
    (Decision.CORRECTED, Verdict.BENIGN): "malignant_to_benign",
    (Decision.CORRECTED, Verdict.MALIGNANT): "benign_to_malignant",
    (Decision.UNFIT, ""): "unfit",
}
"""What counts where, by a review's decision and label."""


@dataclass(frozen=True)
class Agreement:
    """How often reviewers said what a model had said. Each image counts once for each model version: its latest review.

    Attributes:
        confirmed: Images whose verdict was confirmed.
        malignant_to_benign: Images that the model called malignant and the reviewer benign.
        benign_to_malignant: The other way round.
        unfit: Images that are unfit; they neither agree nor disagree.
    """

    confirmed: int = 0
    malignant_to_benign: int = 0
    benign_to_malignant: int = 0
    unfit: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        """Of both together."""
        return Agreement(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def judged(self) -> int:
        """Images whose verdict was confirmed or corrected."""
        return self.confirmed + self.malignant_to_benign + self.benign_to_malignant

    @property
    def images(self) -> int:
        """All that were reviewed."""
        return self.judged + self.unfit

    @property
    def share(self) -> float | None:
        """Confirmed over judged; None where nothing was judged."""
        return self.confirmed / self.judged if self.judged else None

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of the share."""
        if not self.judged:
            return None
        from scipy.stats import binomtest

        bounds = binomtest(self.confirmed, self.judged).proportion_ci(confidence_level=0.95, method="wilson")
        return float(bounds.low), float(bounds.high)

    @property
    def percent(self) -> float | None:
        """The share, for people."""
        return None if self.share is None else 100 * self.share

    @property
    def percent_interval(self) -> tuple[float, float] | None:
        """The interval, for people."""
        return None if self.interval is None else (100 * self.interval[0], 100 * self.interval[1])


@dataclass(frozen=True)
class Agreements:
    """Agreement by model version and day.

    Attributes:
        by_day: By the version's primary key and the day of the review.
    """

    by_day: Mapping[tuple[UUID, date], Agreement]

    def total(self, version: ModelVersion | None = None) -> Agreement:
        """With a model version, or with all."""
        return sum((agreed for _, agreed in self._of(version)), Agreement())

    def by_version(self) -> list[tuple[ModelVersion, Agreement]]:
        """With each model version that was reviewed, newest version first."""
        versions = ModelVersion.objects.in_bulk({pk for pk, _ in self.by_day})
        newest_first = sorted(versions.values(), key=lambda version: version.created_at, reverse=True)
        return [(version, self.total(version)) for version in newest_first]

    def over_time(self, *, weekly: bool, version: ModelVersion | None = None) -> list[tuple[date, Agreement]]:
        """In each week or month with a review, by its first day, oldest first."""
        periods: dict[date, Agreement] = {}
        for day, agreed in self._of(version):
            first = day - timedelta(days=day.weekday()) if weekly else day.replace(day=1)
            periods[first] = periods.get(first, Agreement()) + agreed
        return sorted(periods.items())

    def _of(self, version: ModelVersion | None) -> Iterator[tuple[date, Agreement]]:
        return ((day, agreed) for (pk, day), agreed in self.by_day.items() if version is None or pk == version.pk)


def agreements(*, since: date | None = None) -> Agreements:
    """How far models and reviewers agree. Synthetic samples do not count.

    Args:
        since: The first day of the reviews that count; all count when None.
    """
    counted = ReviewTally.objects.filter(day__gte=since) if since else ReviewTally.objects.all()
    by_day: dict[tuple[UUID, date], Agreement] = {}
    for version, day, decision, label, images in counted.values_list(
        "model_version", "day", "decision", "label", "images"
    ):
        agreed = Agreement(**{_NAMES[decision, label]: images})
        by_day[version, day] = by_day.get((version, day), Agreement()) + agreed
    return Agreements({key: agreed for key, agreed in by_day.items() if agreed.images})


def count(said: Review) -> None:
    """Let a review that was just added count, and the one that it supersedes no longer; in the same transaction."""
    if said.image.case.synthetic:
        return
    of_same = Review.objects.filter(image=said.image_id, analysis__model_version=said.analysis.model_version_id)
    superseded = of_same.exclude(pk=said.pk).first()
    changes = Counter([_tally(said)])
    if superseded:
        changes.subtract([_tally(superseded)])
    # Rows are locked, in one order everywhere.
    for (day, decision, label), change in sorted(item for item in changes.items() if item[1]):
        tally, _made = ReviewTally.objects.get_or_create(
            day=day, model_version_id=said.analysis.model_version_id, decision=decision, label=label
        )
        ReviewTally.objects.filter(pk=tally.pk).update(images=F("images") + change)


def _tally(said: Review) -> tuple[date, str, str]:
    """Where a review counts: its day in the server's zone."""
    return timezone.localdate(said.created_at, timezone.get_default_timezone()), said.decision, said.label
