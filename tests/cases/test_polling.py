"""Who asks again is told in one word that nothing has changed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from patchvote.cases import polling
from patchvote.cases.review import services as reviews
from patchvote.jobs.models import Worker


@pytest.fixture
def page(client: Client, ana: Any) -> Client:
    client.force_login(ana)
    return client


@pytest.fixture(autouse=True)
def _at_work(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "broker_answers", lambda: True)
    Worker.objects.create(name="w", queue="inference")


def tables(queries: CaptureQueriesContext) -> set[str]:
    return {name for query in queries for name in re.findall(r'"(cases_\w+)"', query["sql"])}


def test_a_client_that_has_seen_it_gets_304_without_a_look_at_the_images(api: Any, ana: Any, submit: Any) -> None:
    case, client = submit(ana), api(ana)
    url = f"/api/v1/cases/{case.pk}/"
    first = client.get(url)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        again = client.get(url, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == first["ETag"]
    assert again["Retry-After"] == first["Retry-After"]
    assert tables(queries) == {"cases_case"}


def test_every_change_is_seen(api: Any, ana: Any, rita: Any, submit: Any, finish: Any) -> None:
    from patchvote.cases import services
    from patchvote.cases.models import Analysis
    from patchvote.jobs import ledger

    case, client = submit(ana), api(ana)
    url = f"/api/v1/cases/{case.pk}/"
    seen = [client.get(url)["ETag"]]

    def changed() -> bool:
        answer = client.get(url, headers={"If-None-Match": seen[-1]})
        seen.append(answer["ETag"])
        return answer.status_code == 200

    [job] = ledger.claim(Analysis, "w", 1)
    assert changed()
    ledger.give_back(job, untried=True)
    assert changed()
    finish()
    assert changed()
    reviews.review(case.images.get(), rita, "confirmed")
    assert changed()
    services.analyse_again(case)
    assert changed()
    services.cancel(case)
    assert changed()
    assert not changed()
    assert len(set(seen[:-1])) == len(seen) - 1


def test_an_etag_opens_nothing(api: Any, ana: Any, make_user: Any, submit: Any) -> None:
    url = f"/api/v1/cases/{submit(ana).pk}/"
    etag = api(ana).get(url)["ETag"]
    assert api(make_user("ben")).get(url, headers={"If-None-Match": etag}).status_code == 404
    assert api().get(url, headers={"If-None-Match": etag}).status_code == 401
    assert api(ana).get("/api/v1/cases/nonsense/").status_code == 404


def test_the_page_gets_304_until_something_changes(page: Client, ana: Any, submit: Any, finish: Any) -> None:
    case = submit(ana)
    url = f"/cases/{case.pk}/status/"
    first = page.get(url)
    [headers] = re.findall("hx-headers='(.*?)'", first.content.decode())
    assert json.loads(headers) == {"If-None-Match": first["ETag"]}
    with CaptureQueriesContext(connection) as queries:
        again = page.get(url, {"after": "5"}, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert float(again["Retry-After"]) == 7
    assert "no-store" in again["Cache-Control"]
    assert tables(queries) == {"cases_case"}
    Worker.objects.all().delete()
    late = page.get(url, headers={"If-None-Match": first["ETag"]})
    assert late.status_code == 200
    finish()
    assert page.get(url, headers={"If-None-Match": late["ETag"]}).status_code == 200
    assert page.get(url, headers={"If-None-Match": first["ETag"], "Accept-Language": "es"}).status_code == 200
