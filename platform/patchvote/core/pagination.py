"""Pagination of long lists: no row appears on two pages, and the last page is as fast as the first."""

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
    """A paginator that reads pages of the second half from the end, because OFFSET costs the rows that it skips.

    Querysets must be ordered without ties; otherwise a row could be on two pages and another row on none.
    """

    @property
    def more(self) -> bool:
        """Whether the queryset has rows that are on no page."""
        return False

    def page(self, number: int | str) -> paginator.Page[Any]:
        """Return a page.

        Raises:
            InvalidPage: If the page does not exist.
        """
        number = self.validate_number(number)
        first = (number - 1) * self.per_page
        if not isinstance(self.object_list, QuerySet) or first <= self.count / 2 or self.more:
            return super().page(number)
        last = self.count if number == self.num_pages else first + self.per_page
        backwards: Sequence[Any] = list(self.object_list.reverse()[self.count - last : self.count - first])
        return paginator.Page(backwards[::-1], number, self)


class BoundedPaginator(Paginator):
    """A paginator for the first `most` rows only, because counting all rows of a large table takes too long."""

    most = 10_000

    @cached_property
    def count(self) -> int:
        """The number of rows on all pages."""
        return min(self._found, self.most)

    @property
    def more(self) -> bool:
        """Whether the queryset has rows that are on no page."""
        return self._found > self.most

    @cached_property
    def _found(self) -> int:
        """The number of rows in the queryset, but at most `most` + 1."""
        rows = cast("QuerySet[Any]", self.object_list)
        return rows.order_by().values("pk")[: self.most + 1].count()


class PageNumberPagination(pagination.PageNumberPagination):
    """The pagination of the REST API's lists."""

    django_paginator_class = Paginator


class OrderingFilter(filters.OrderingFilter):
    """An ordering without ties: the client's fields, then the model's default ordering, then the primary key.

    The added fields have the direction of the client's last field, because the indexes have it.
    """

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: APIView) -> list[str]:
        """Return the names of the fields, with a minus for descending order."""
        meta = queryset.model._meta  # noqa: SLF001 (Django's documented way)
        requested = [str(name) for name in super().get_ordering(request, queryset, view) or meta.ordering]
        direction = "-" if requested and requested[-1].startswith("-") else ""
        given = {name.lstrip("-") for name in requested}
        added = dict.fromkeys([*(str(name).lstrip("-") for name in meta.ordering), str(meta.pk and meta.pk.name)])
        return [*requested, *(direction + name for name in added if name not in given)]
