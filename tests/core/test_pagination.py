"""Pages: each row on one of them, whichever end they are read from."""

from operator import itemgetter
from typing import Any

import pytest
from django.core.paginator import EmptyPage
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from patchvote.cases.models import Case
from patchvote.core.pagination import BoundedPaginator, Paginator

CASES = "/api/v1/cases/"


@pytest.fixture
def cases(ana: Any) -> list[Case]:
    """Sixty-three at two moments, in two states: full of ties."""
    moments = [timezone.now(), timezone.now()]
    made = [Case(submitter=ana, created_at=moments[n % 2], state=("queued", "failed")[n % 3 > 0]) for n in range(63)]
    return Case.objects.bulk_create(made)


@pytest.mark.parametrize("per_page", [1, 7, 9, 25, 62, 63, 100])
def test_each_row_is_on_one_page_in_its_place(cases: list[Case], per_page: int) -> None:
    rows = Case.objects.order_by("-created_at", "-id")
    pages = Paginator(rows, per_page)
    read = [pages.page(number) for number in pages.page_range]
    assert [row for page in read for row in page] == list(rows)
    assert [len(page) for page in read[:-1]] == [per_page] * (pages.num_pages - 1)
    assert len(cases) == sum(len(page) for page in read)


def test_orphans_stay_on_the_last_page(cases: list[Case]) -> None:
    pages = Paginator(Case.objects.all(), 10, orphans=5)
    assert [len(pages.page(number)) for number in pages.page_range] == [10, 10, 10, 10, 10, 13]
    assert list(pages.page(6)) == list(Case.objects.all()[50:])


def test_the_last_page_is_read_from_the_end(cases: list[Case]) -> None:
    with CaptureQueriesContext(connection) as queries:
        list(Paginator(Case.objects.all(), 10).page(7))
    assert len(queries) == 2
    assert "OFFSET" not in queries[-1]["sql"]


def test_lists_and_nothing_are_paged_as_ever(db: None) -> None:
    assert list(Paginator(list(range(63)), 10).page(7)) == [60, 61, 62]
    assert list(Paginator(Case.objects.all(), 10).page(1)) == []
    with pytest.raises(EmptyPage):
        Paginator(Case.objects.all(), 10).page(2)


@pytest.mark.parametrize("ordering", [None, "state", "-state", "created_at", "-created_at", "state,-created_at"])
def test_a_client_that_walks_through_the_api_sees_each_case_once(
    cases: list[Case], client: Any, ana: Any, ordering: str | None
) -> None:
    client.force_login(ana)
    address = CASES if ordering is None else f"{CASES}?ordering={ordering}"
    seen: list[dict[str, Any]] = []
    expected: list[dict[str, Any]] = []
    while address:
        answer = client.get(address).json()
        seen += answer["results"]
        address = answer["next"]
    assert len(seen) == len(cases)
    assert len({case["id"] for case in seen}) == len(cases)
    *_, last = fields = (ordering or "-created_at").split(",")
    for name in reversed(fields):
        expected = sorted(expected if name != last else seen, key=itemgetter(name.lstrip("-")), reverse=name[0] == "-")
    assert [case["id"] for case in seen] == [case["id"] for case in expected]


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> type[BoundedPaginator]:
    """That counts to fifty."""
    monkeypatch.setattr(BoundedPaginator, "most", 50)
    return BoundedPaginator


def test_a_bounded_list_has_the_first_rows_alone(cases: list[Case], bounded: type[BoundedPaginator]) -> None:
    rows = Case.objects.order_by("-created_at", "-id")
    pages = bounded(rows, 20)
    assert (pages.count, pages.num_pages, pages.more) == (50, 3, True)
    assert [row for number in pages.page_range for row in pages.page(number)] == list(rows[:50])
    with pytest.raises(EmptyPage):
        pages.page(4)


@pytest.mark.parametrize("most", [63, 64, 10_000])
def test_a_bounded_list_has_all_rows_where_they_are_few(
    cases: list[Case], bounded: type[BoundedPaginator], monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(bounded, "most", most)
    rows = Case.objects.order_by("-created_at", "-id")
    pages = bounded(rows, 20)
    assert (pages.count, pages.num_pages, pages.more) == (63, 4, False)
    assert [row for number in pages.page_range for row in pages.page(number)] == list(rows)


def test_a_bounded_list_counts_no_further(cases: list[Case], bounded: type[BoundedPaginator]) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert bounded(Case.objects.with_images(votes=False), 20).more
    assert len(queries) == 1
    assert "LIMIT 51" in queries[0]["sql"]
    assert "ORDER BY" not in queries[0]["sql"]


def test_the_history_says_that_there_are_more_and_how_to_see_them(
    cases: list[Case], bounded: type[BoundedPaginator], client: Any, ana: Any
) -> None:
    client.force_login(ana)
    page = client.get("/cases/?page=last").content.decode()
    assert "More than 50 cases" in page
    assert "Page 2 of 2" in page
    assert client.get("/cases/?page=3").status_code == 404
    few = client.get("/cases/?state=queued").content.decode()
    assert "21 cases" in few
    assert "More than" not in few


def test_the_api_has_all_cases(cases: list[Case], bounded: type[BoundedPaginator], client: Any, ana: Any) -> None:
    client.force_login(ana)
    assert client.get(CASES).json()["count"] == 63
