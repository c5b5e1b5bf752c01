"""Finding cases by parts of their texts, with an index and without."""

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from patchvote.cases import search
from patchvote.cases.models import Case

HISTORY = "/cases/"
API = "/api/v1/cases/"

sqlite_alone = pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL keeps its index by itself")


def drop_index() -> None:
    """Drop SQLite's index until the test ends. PostgreSQL needs none to find the same cases."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            for name in ("insert", "update", "delete"):
                cursor.execute(f"DROP TRIGGER cases_search_{name}")
            cursor.execute("DROP TABLE cases_search")


@pytest.fixture(params=["index", "many", "texts"])
def way(request: pytest.FixtureRequest, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """How cases are found: in the index, by scanning because many match, or by scanning without an index."""
    if request.param == "many":
        monkeypatch.setattr(search, "FEW", 0)
    elif request.param == "texts":
        drop_index()


@pytest.fixture
def cases(submit: Any, upload: Any, ana: Any, rita: Any) -> dict[str, Case]:
    return {
        "plain": submit(ana, upload(name="slide-1.png"), reference="B-2041", notes="core biopsy"),
        "accents": submit(ana, upload(name="año.png"), reference="ÁLVAREZ", notes="Straße"),
        "signs": submit(ana, upload(name="x.png"), reference='50%_"a" \\ b*', notes="one\ntwo"),
        "rita's": submit(rita, upload(name="slide-2.png"), reference="B-2042"),
    }


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("2041", {"plain"}),
        ("b-204", {"plain", "rita's"}),
        ("CORE BIOPSY", {"plain"}),
        ("slide-", {"plain", "rita's"}),
        ("álvarez", {"accents"}),
        ("A\u0301LVAREZ", {"accents"}),  # a letter and its accent apart
        ("STRASSE", {"accents"}),
        ("AÑO", {"accents"}),
        ("ñ", {"accents"}),
        ("b-", {"plain", "rita's"}),
        ("%_", {"signs"}),
        ('50%_"a"', {"signs"}),
        ("\\ b*", {"signs"}),
        ("AND OR NOT", set()),
        ("png core", set()),  # parts of two texts are no part of one
        ("nowhere", set()),
    ],
)
@pytest.mark.usefixtures("way")
def test_parts_are_found(cases: dict[str, Case], part: str, found: set[str]) -> None:
    matching = set(search.filter_by_text(Case.objects.all(), part))
    assert {name for name, case in cases.items() if case in matching} == found
    assert len(matching) == len(found)


@pytest.mark.usefixtures("way")
def test_people_find_what_they_may_see(cases: dict[str, Case], client: Any, ana: Any) -> None:
    client.force_login(ana)
    assert [case["id"] for case in client.get(API, {"q": "slide-"}).json()["results"]] == [str(cases["plain"].pk)]
    assert list(client.get(HISTORY, {"q": "slide-"}).context["page_obj"]) == [cases["plain"]]


@pytest.mark.usefixtures("way")
def test_the_reference_alone(cases: dict[str, Case], client: Any, ana: Any) -> None:
    client.force_login(ana)

    def found(reference: str) -> list[str]:
        return [case["id"] for case in client.get(API, {"reference": reference}).json()["results"]]

    assert found("b-2041") == [str(cases["plain"].pk)]
    assert found("biopsy") == found("slide") == []


def test_a_search_that_finds_nothing_asks_no_more_often_than_one_that_finds_all(
    cases: dict[str, Case], client: Any, ana: Any
) -> None:
    client.force_login(ana)
    numbers = []
    for part in ("nowhere", "png"):
        with CaptureQueriesContext(connection) as captured:
            client.get(HISTORY, {"q": part})
        numbers.append(sum("cases_case" in query["sql"] or "cases_search" in query["sql"] for query in captured))
    assert numbers[0] <= numbers[1]


def test_cases_that_were_there_before_are_found(cases: dict[str, Case]) -> None:
    texts = dict(Case.objects.values_list("pk", "search_text"))
    Case.objects.update(search_text="")
    assert not search.filter_by_text(Case.objects.all(), "2041").exists()
    import_module("patchvote.cases.migrations.0007_search_text").fold(apps, None)
    assert dict(Case.objects.values_list("pk", "search_text")) == texts
    assert search.filter_by_text(Case.objects.all(), "2041").get() == cases["plain"]


@sqlite_alone
def test_the_index_is_used_follows_and_is_mended(cases: dict[str, Case]) -> None:
    assert search.find_in_index("204") == [cases["plain"].pk, cases["rita's"].pk]
    Case.objects.filter(pk=cases["plain"].pk).update(search_text="other words")
    assert search.find_in_index("2041") == []
    assert search.find_in_index("other") == [cases["plain"].pk]
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM cases_search")
    assert search.find_in_index("2042") == []
    call_command("migrate", verbosity=0)
    assert search.find_in_index("2042") == [cases["rita's"].pk]


@pytest.mark.django_db(transaction=True)
def test_an_installation_goes_back_to_an_earlier_version_and_forward_again(cases: dict[str, Case]) -> None:
    try:
        call_command("migrate", "cases", "0005", verbosity=0)
    finally:
        call_command("migrate", verbosity=0)
    assert set(search.filter_by_text(Case.objects.all(), "slide-")) == {cases["plain"], cases["rita's"]}
    if connection.vendor == "sqlite":
        assert search.find_in_index("2041") == [cases["plain"].pk]


@sqlite_alone
def test_without_the_index_texts_are_read(cases: dict[str, Case]) -> None:
    drop_index()
    assert search.find_in_index("2041") is None
    assert search.filter_by_text(Case.objects.all(), "2041").get() == cases["plain"]
    search.create_index("default")
    assert search.find_in_index("2041") == [cases["plain"].pk]


def test_a_database_that_can_have_no_index_is_no_error(
    cases: dict[str, Case], caplog: pytest.LogCaptureFixture
) -> None:

    def refuse(execute: Any, sql: str, *arguments: Any) -> Any:
        if "CREATE VIRTUAL TABLE" in sql or "CREATE EXTENSION" in sql:
            raise OperationalError("no such module: fts5")
        return execute(sql, *arguments)

    with connection.execute_wrapper(refuse):
        search.create_index("default")
    assert "searches scan all texts" in caplog.text
    assert search.filter_by_text(Case.objects.all(), "2041").get() == cases["plain"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite's index is another one")
def test_postgresql_finds_parts_by_its_index(cases: dict[str, Case]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "cases_search" in search.filter_by_text(Case.objects.order_by(), "B-2041").explain()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL's index is another one")
@pytest.mark.parametrize("whose", ["all", "a submitter's"])
def test_sqlite_counts_many_matches_without_reading_whole_cases(cases: dict[str, Case], whose: str) -> None:
    some = Case.objects.all() if whose == "all" else Case.objects.filter(submitter=cases["plain"].submitter)
    matching = some.filter(search_text__contains="biopsy").order_by().values("submitter")  # as count() asks
    assert "USING COVERING INDEX cases_search_texts" in matching.explain()
