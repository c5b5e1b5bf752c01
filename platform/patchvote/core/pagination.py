"""Long lists in pages: no row on two of them, and the last page as quick as the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django.core import paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property
from rest_framework import filters, pagination
from rest_framework.request import Request
from rest_framework.views import APIView


class Paginator(paginator.Paginator[Any]):
    """Reads pages of the second half from the end: a database counts its way to each page.

    Querysets have to be ordered without ties, or a row might be on two pages and another on none.
    """

    @property
    def more(self) -> bool:
        """Whether there are rows that no page has."""
        return False

    def page(self, number: int | str) -> paginator.Page[Any]:
        """As Django's.

        Raises:
            InvalidPage: If there is no such page.
        """
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        if not isinstance(self.object_list, QuerySet) or first <= self.count / 2 or self.more:
            return super().page(number)
        last = self.count if number == self.num_pages else first + self.per_page
        backwards: Sequence[Any] = list(self.object_list.reverse()[self.count - last : self.count - first])
        return paginator.Page(backwards[::-1], number, self)


class BoundedPaginator(Paginator):
    """Has the first `most` rows of a queryset alone: counting all of them takes longer the more there are."""

    most = 10_000

    @cached_property
    def count(self) -> int:
        """Rows that are on a page."""
        return min(self._found, self.most)

    @property
    def more(self) -> bool:
        """Whether there are rows that no page has."""
        return self._found > self.most

    @cached_property
    def _found(self) -> int:
        """All rows, or one too many."""
        rows = cast("QuerySet[Any]", self.object_list)
        return rows.order_by().values("pk")[: self.most + 1].count()


class PageNumberPagination(pagination.PageNumberPagination):
    """Of the REST API's lists."""

    django_paginator_class = Paginator


class OrderingFilter(filters.OrderingFilter):
    """Orders as the client asks and leaves no ties: the model's own order decides, and the primary key at last.

    All of it in the direction that was asked last, for which there are indexes.
    """

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: APIView) -> list[str]:
        """Names of fields, those downwards with a minus."""
        meta = queryset.model._meta  # noqa: SLF001 (Django's documented way)
        asked = [str(name) for name in super().get_ordering(request, queryset, view) or meta.ordering]
        direction = "-" if asked and asked[-1].startswith("-") else ""
        settled = {name.lstrip("-") for name in asked}
        more = dict.fromkeys([*(str(name).lstrip("-") for name in meta.ordering), str(meta.pk and meta.pk.name)])
        return [*asked, *(direction + name for name in more if name not in settled)]
