"""Agreement between models and reviewers: in total, by model version, and over time."""

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
"""The attribute of `Agreement` that counts a review, by its decision and label."""


@dataclass(frozen=True)
class Agreement:
    """The numbers of reviewed images by outcome. An image counts once per model version, by its latest review.

    Attributes:
        confirmed: Images whose verdict was confirmed.
        malignant_to_benign: Images that the model called malignant and the reviewer benign.
        benign_to_malignant: Images that the model called benign and the reviewer malignant.
        unfit: Unfit images, which count neither as agreement nor as disagreement.
    """

    confirmed: int = 0
    malignant_to_benign: int = 0
    benign_to_malignant: int = 0
    unfit: int = 0

    def __add__(self, other: Agreement) -> Agreement:
        """Return the sum of both."""
        return Agreement(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def judged(self) -> int:
        """The number of images whose verdict was confirmed or corrected."""
        return self.confirmed + self.malignant_to_benign + self.benign_to_malignant

    @property
    def images(self) -> int:
        """The number of reviewed images."""
        return self.judged + self.unfit

    @property
    def share(self) -> float | None:
        """The confirmed share of the judged images, 0..1; None if no image was judged."""
        return self.confirmed / self.judged if self.judged else None

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of the share; None if no image was judged."""
        if not self.judged:
            return None
        from scipy.stats import binomtest

        bounds = binomtest(self.confirmed, self.judged).proportion_ci(confidence_level=0.95, method="wilson")
        return float(bounds.low), float(bounds.high)

    @property
    def percent(self) -> float | None:
        """The share in percent."""
        return None if self.share is None else 100 * self.share

    @property
    def percent_interval(self) -> tuple[float, float] | None:
        """The interval in percent."""
        return None if self.interval is None else (100 * self.interval[0], 100 * self.interval[1])


@dataclass(frozen=True)
class AgreementTable:
    """Agreement by model version and day.

    Attributes:
        by_day: The agreement by the version's primary key and the day of the review.
    """

    by_day: Mapping[tuple[UUID, date], Agreement]

    def total(self, version: ModelVersion | None = None) -> Agreement:
        """Return the agreement with a model version, or with all of them."""
        return sum((agreement for _, agreement in self._filter(version)), Agreement())

    def by_version(self) -> list[tuple[ModelVersion, Agreement]]:
        """Return the agreement with each reviewed model version, newest version first."""
        versions = ModelVersion.objects.in_bulk({pk for pk, _ in self.by_day})
        newest_first = sorted(versions.values(), key=lambda version: version.created_at, reverse=True)
        return [(version, self.total(version)) for version in newest_first]

    def over_time(self, *, weekly: bool, version: ModelVersion | None = None) -> list[tuple[date, Agreement]]:
        """Return the agreement in each week or month with reviews, with its first day, oldest first."""
        periods: dict[date, Agreement] = {}
        for day, agreement in self._filter(version):
            first = day - timedelta(days=day.weekday()) if weekly else day.replace(day=1)
            periods[first] = periods.get(first, Agreement()) + agreement
        return sorted(periods.items())

    def _filter(self, version: ModelVersion | None) -> Iterator[tuple[date, Agreement]]:
        return ((day, one) for (pk, day), one in self.by_day.items() if version is None or pk == version.pk)


def load_agreement(*, since: date | None = None) -> AgreementTable:
    """Read the agreement between models and reviewers. Synthetic samples do not count.

    Args:
        since: The first day of the reviews that count; None for all reviews.
    """
    counted = ReviewTally.objects.filter(day__gte=since) if since else ReviewTally.objects.all()
    by_day: dict[tuple[UUID, date], Agreement] = {}
    for version, day, decision, label, images in counted.values_list(
        "model_version", "day", "decision", "label", "images"
    ):
        agreement = Agreement(**{_NAMES[decision, label]: images})
        by_day[version, day] = by_day.get((version, day), Agreement()) + agreement
    return AgreementTable({key: agreement for key, agreement in by_day.items() if agreement.images})


def update_tally(review: Review) -> None:
    """Count a new review, and stop counting the one that it supersedes. Requires the transaction that adds it."""
    if review.image.case.synthetic:
        return
    of_same = Review.objects.filter(image=review.image_id, analysis__model_version=review.analysis.model_version_id)
    superseded = of_same.exclude(pk=review.pk).first()
    changes = Counter([_tally_key(review)])
    if superseded:
        changes.subtract([_tally_key(superseded)])
    # All code locks these rows in the same order.
    for (day, decision, label), change in sorted(item for item in changes.items() if item[1]):
        tally, _created = ReviewTally.objects.get_or_create(
            day=day, model_version_id=review.analysis.model_version_id, decision=decision, label=label
        )
        ReviewTally.objects.filter(pk=tally.pk).update(images=F("images") + change)


def _tally_key(review: Review) -> tuple[date, str, str]:
    """Return the day (in the server's time zone), decision and label under which a review is counted."""
    return timezone.localdate(review.created_at, timezone.get_default_timezone()), review.decision, review.label
