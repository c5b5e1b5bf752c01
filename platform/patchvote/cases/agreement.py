"""How far models and reviewers agree: in all, by model version, over time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any

from django.db.models import Count, QuerySet
from django.db.models.functions import TruncMonth, TruncWeek

from patchvote.cases.models import Decision, Review, Verdict
from patchvote.registry.models import ModelVersion


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


def agreement(
    *, version: ModelVersion | None = None, since: datetime | None = None, until: datetime | None = None
) -> Agreement:
    """Agreement with a model version, or with all, by reviews of a span of time. Synthetic samples do not count.

    Args:
        version: The model version; all when None.
        since: The first moment.
        until: The first moment that does not belong to it any more.
    """
    return _tally(_counted(version, since, until)).get((), Agreement())


def agreement_by_version(
    *, since: datetime | None = None, until: datetime | None = None
) -> list[tuple[ModelVersion, Agreement]]:
    """Agreement with each model version that was reviewed, newest version first."""
    tally = _tally(_counted(None, since, until), "analysis__model_version")
    versions = ModelVersion.objects.in_bulk([pk for (pk,) in tally])
    found = [(versions[pk], agreed) for (pk,), agreed in tally.items()]
    return sorted(found, key=lambda pair: pair[0].created_at, reverse=True)


def agreement_over_time(
    *, weekly: bool, version: ModelVersion | None = None, since: datetime | None = None
) -> list[tuple[date, Agreement]]:
    """Agreement in each week or month with a review, by its first day, oldest first."""
    truncated = (TruncWeek if weekly else TruncMonth)("created_at")
    tally = _tally(_counted(version, since, None).annotate(period=truncated), "period")
    return sorted((moment.date(), agreed) for (moment,), agreed in tally.items())


def _counted(version: ModelVersion | None, since: datetime | None, until: datetime | None) -> QuerySet[Review]:
    counted = Review.objects.filter(image__case__synthetic=False).latest_of_each("image", "analysis__model_version")
    bounds = {"analysis__model_version": version, "created_at__gte": since, "created_at__lt": until}
    return counted.filter(**{field: value for field, value in bounds.items() if value is not None}).order_by()


def _tally(counted: QuerySet[Review], *by: str) -> dict[tuple[Any, ...], Agreement]:
    names = {
        (Decision.CONFIRMED, Verdict.BENIGN): "confirmed",
        (Decision.CONFIRMED, Verdict.MALIGNANT): "confirmed",
        (Decision.CORRECTED, Verdict.BENIGN): "malignant_to_benign",
        (Decision.CORRECTED, Verdict.MALIGNANT): "benign_to_malignant",
        (Decision.UNFIT, ""): "unfit",
    }
    numbers: dict[tuple[Any, ...], dict[str, int]] = {}
    for *key, decision, label, number in counted.values_list(*by, "decision", "label").annotate(number=Count("pk")):
        name, found = names[decision, label], numbers.setdefault(tuple(key), {})
        found[name] = found.get(name, 0) + number
    return {key: Agreement(**found) for key, found in numbers.items()}
