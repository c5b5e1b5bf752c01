"""Filters of the case list, shared by the pages and the API."""

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
    """A field for an ISO 8601 time or date; a date means its start, or with `end_of_day` the start of the next day."""

    def __init__(self, *args: Any, end_of_day: bool = False, **kwargs: Any) -> None:
        """Store `end_of_day`."""
        super().__init__(*args, **kwargs)
        self._end_of_day = end_of_day

    def to_python(self, value: Any) -> datetime | None:
        """Return an aware time; refuse dates that do not exist."""
        try:
            day = parse_date(value) if isinstance(value, str) else None
            if day is not None:
                midnight = datetime.combine(day, time.min) + timedelta(days=1 if self._end_of_day else 0)
                return timezone.make_aware(midnight)
            moment: datetime | None = super().to_python(value)
            return moment and moment.astimezone(UTC)  # overflows at the first and last day of the calendar
        except (ValueError, OverflowError):
            raise ValidationError(
                _("Give a date such as 2026-11-23 or a time such as 2026-11-23T10:00:00Z."), "invalid"
            ) from None


class MomentFilter(django_filters.IsoDateTimeFilter):
    """A filter that uses a `MomentField`."""

    field_class = MomentField


REVIEW_CHOICES = [
    ("awaiting", _("not reviewed yet")),
    ("reviewed", _("reviewed")),
    ("disputed", _("reviewer disagrees")),
]


class CaseFilter(django_filters.FilterSet):
    """The filters of cases; `reference` and `q` match substrings, ignoring upper and lower case."""

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
        """Search references, notes and file names."""
        del name
        return search.filter_by_text(queryset, value)

    def by_reference(self, queryset: QuerySet[Case], name: str, value: str) -> QuerySet[Case]:
        """Search references only."""
        del name
        return search.filter_by_reference(queryset, value)

    def by_review(self, queryset: CaseQuerySet, name: str, value: str) -> CaseQuerySet:
        """Filter by review status: waiting for a review, reviewed, or a reviewer disagrees with the verdict."""
        del name
        return queryset.filter(**{REVIEW_STATUS_COLUMNS[value]: True})
