"""Searching the history: the same for pages and API."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import django_filters
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext_lazy as _
from django_filters.fields import IsoDateTimeField

from patchvote.cases import search
from patchvote.cases.models import Case, CaseQuerySet, Verdict
from patchvote.cases.summaries import REVIEW_STATUS_COLUMNS
from patchvote.jobs.models import State


class MomentField(IsoDateTimeField):
    """A moment in ISO 8601, or a day: then its beginning, or with `end_of_day` the beginning of the next."""

    def __init__(self, *args: Any, end_of_day: bool = False, **kwargs: Any) -> None:
        """Keep how a day is meant."""
        super().__init__(*args, **kwargs)
        self._end_of_day = end_of_day

    def to_python(self, value: Any) -> datetime | None:
        """Refuse what no calendar has."""
        try:
            day = parse_date(value) if isinstance(value, str) else None
            if day is not None:
                midnight = datetime.combine(day, time.min) + timedelta(days=1 if self._end_of_day else 0)
                return timezone.make_aware(midnight)
            moment: datetime | None = super().to_python(value)
            return moment and moment.astimezone(UTC)  # the ends of the calendar overflow here
        except (ValueError, OverflowError):
            raise ValidationError(
                _("Give a date such as 2026-11-23 or a time such as 2026-11-23T10:00:00Z."), "invalid"
            ) from None


class MomentFilter(django_filters.IsoDateTimeFilter):
    """Filters by a `MomentField`."""

    field_class = MomentField


REVIEW_CHOICES = [
    ("awaiting", _("not reviewed yet")),
    ("reviewed", _("reviewed")),
    ("disputed", _("reviewer disagrees")),
]


class CaseFilter(django_filters.FilterSet):
    """Filters of cases; `reference` and `q` match parts, whatever their case of letters."""

    q = django_filters.CharFilter(method="by_texts", label=_("Reference, notes or file name"))
    reference = django_filters.CharFilter(method="by_reference", label=_("Reference"))
    state = django_filters.ChoiceFilter(choices=State.choices, label=_("State"), empty_label=_("any state"))
    verdict = django_filters.ChoiceFilter(choices=Verdict.choices, label=_("Verdict"), empty_label=_("any verdict"))
    created_after = MomentFilter("created_at", lookup_expr="gte", label=_("Submitted from"))
    created_before = MomentFilter("created_at", lookup_expr="lt", label=_("Submitted until"), end_of_day=True)

    review = django_filters.ChoiceFilter(
        method="by_review", choices=REVIEW_CHOICES, label=_("Review"), empty_label=_("reviewed or not")
    )

    class Meta:
        model = Case
        fields: list[str] = []

    def by_texts(self, queryset: QuerySet[Case], name: str, value: str) -> QuerySet[Case]:
        """One box for what people remember."""
        del name
        return search.matching(queryset, value)

    def by_reference(self, queryset: QuerySet[Case], name: str, value: str) -> QuerySet[Case]:
        """A part of the reference alone."""
        del name
        return search.with_reference(queryset, value)

    def by_review(self, queryset: CaseQuerySet, name: str, value: str) -> CaseQuerySet:
        """What waits for a review, what has it, and where the reviewer says another class than the model."""
        del name
        return queryset.filter(**{REVIEW_STATUS_COLUMNS[value]: True})
