"""Pages, without a browser: what they answer to good and bad requests."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from patchvote.cases import polling
from patchvote.cases.models import Analysis, Case
from patchvote.cases.polling import SLOWEST_POLL_SECONDS
from patchvote.jobs import ledger
from patchvote.jobs.models import Worker
from patchvote.registry.models import ModelVersion
from testing.images import encode, noise


@pytest.fixture
def ana(make_user: Any) -> Any:
    return make_user("ana")


@pytest.fixture
def page(client: Client, ana: Any, tiny_champion: Any) -> Client:
    client.force_login(ana)
    return client


def test_the_form_stores_a_case_and_leads_to_it(page: Client, upload: Any) -> None:
    answer = page.post("/cases/new/", {"images": [upload(), upload()], "reference": "B-7", "magnification": "200X"})
    case = Case.objects.get()
    assert answer["Location"] == f"/cases/{case.pk}/"
    assert (case.reference, case.magnification, case.images.count()) == ("B-7", "200X", 2)


def test_the_form_says_of_each_file_what_is_wrong(page: Client, upload: Any) -> None:
    files = [upload(b"", "a.png"), upload(b"text", "b.png"), upload()]
    answer = page.post("/cases/new/", {"images": files, "magnification": "40X"})
    text = answer.content.decode()
    assert answer.status_code == 400
    assert "a.png: The file is empty." in text
    assert "b.png: This is not an image." in text
    assert not Case.objects.exists()


def test_the_form_wants_an_image(page: Client) -> None:
    answer = page.post("/cases/new/", {"magnification": "40X"})
    assert answer.status_code == 400
    assert "Choose at least one image." in answer.content.decode()


def test_file_names_are_shown_as_text(page: Client, submit: Any, ana: Any, upload: Any) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    case = submit(ana, upload(name=name))
    text = page.get(f"/cases/{case.pk}/").content.decode()
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text


def test_a_request_that_is_too_large_has_a_page(page: Client, upload: Any, settings: Any) -> None:
    settings.UPLOAD_MAX_IMAGES = 1
    settings.UPLOAD_MAX_BYTES = 1000
    answer = page.post("/cases/new/", {"images": upload(b"\0" * 1_200_000), "magnification": "40X"})
    assert answer.status_code == 413
    assert "Send fewer" in answer.content.decode()


def test_without_a_model_the_form_says_so(client: Client, ana: Any, upload: Any) -> None:
    client.force_login(ana)
    assert "register_bundle" in client.get("/cases/new/").content.decode()
    answer = client.post("/cases/new/", {"images": upload(), "magnification": "40X"})
    assert answer.status_code == 400
    assert "register_bundle" in answer.content.decode()


def test_the_sample_is_synthetic_and_says_so(page: Client, work: Any) -> None:
    answer = page.post("/cases/sample/")
    case = Case.objects.get()
    assert answer["Location"] == case.get_absolute_url()
    assert case.synthetic
    assert "synthetic" in case.images.get().filename
    work()
    assert "This case is a synthetic sample" in page.get(case.get_absolute_url()).content.decode()
    assert page.get("/cases/sample/").status_code == 405


@pytest.mark.parametrize("query", ["page=abc", "page=0", "page=999"])
def test_pages_that_do_not_exist_are_404(page: Client, query: str) -> None:
    assert page.get(f"/cases/?{query}").status_code == 404


@pytest.mark.parametrize("query", ["state=nope", "created_after=yesterday", "q=%00", "verdict=%ff"])
def test_filters_that_mean_nothing_are_no_failure(page: Client, query: str) -> None:
    assert page.get(f"/cases/?{query}").status_code == 200


def test_the_history_searches_reference_notes_and_file_names(page: Client, submit: Any, ana: Any, upload: Any) -> None:
    submit(ana, upload(name="left.png"), reference="B-1", notes="first")
    submit(ana, upload(name="right.png"), reference="B-2", notes="second")
    for query, found, other in (("b-1", "B-1", "B-2"), ("SECOND", "B-2", "B-1"), ("left", "B-1", "B-2")):
        text = page.get("/cases/", {"q": query}).content.decode()
        assert found in text
        assert other not in text


def test_polling_slows_down_and_ends(page: Client, submit: Any, ana: Any, finish: Any) -> None:
    case = submit(ana)
    url = f"/cases/{case.pk}/status/"
    delays = [page.get(url, {"after": after}).context["poll_seconds"] for after in ("", "1", "5", "14", "1000")]
    assert delays == sorted(delays)
    assert delays[-1] == SLOWEST_POLL_SECONDS
    assert "hx-trigger" in page.get(url).content.decode()
    for wrong in ("soon", "nan", "inf", "-inf", "1e999"):
        assert page.get(url, {"after": wrong}).status_code == 404
    finish()
    assert "hx-trigger" not in page.get(url).content.decode()


def test_without_workers_the_page_says_that_it_is_delayed(
    page: Client, submit: Any, ana: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "broker_answers", lambda: True)
    case = submit(ana)
    assert page.get(case.get_absolute_url()).context["delayed"]
    Worker.objects.create(name="w", queue="inference")
    assert not page.get(case.get_absolute_url()).context["delayed"]
    Worker.objects.update(seen_at=timezone.now() - timedelta(minutes=1))
    assert page.get(case.get_absolute_url()).context["delayed"]


def test_without_a_broker_the_page_says_that_it_is_delayed(page: Client, submit: Any, ana: Any, finish: Any) -> None:
    case = submit(ana)
    Worker.objects.create(name="w", queue="inference")
    assert page.get(case.get_absolute_url()).context["delayed"]
    finish()
    assert not page.get(case.get_absolute_url()).context["delayed"]


def test_a_failed_analysis_says_what_to_do_in_the_readers_language(page: Client, submit: Any, ana: Any) -> None:
    case = submit(ana)
    [job] = ledger.claim(Analysis, "w", 1)
    ledger.fail(job, ledger.WORKER_LOST, Analysis.LOST_MESSAGE)
    assert "Analyse again; if that fails too" in page.get(case.get_absolute_url()).content.decode()
    spanish = page.get(case.get_absolute_url(), headers={"Accept-Language": "es"}).content.decode()
    assert Analysis.LOST_MESSAGE[:40] not in spanish


def test_a_large_image_keeps_its_page_readable(page: Client, submit: Any, ana: Any, upload: Any) -> None:
    from classifier.grid import COVER
    from classifier.votes import count

    case = submit(ana, upload(encode(noise(2400, 2000))))
    [job] = ledger.claim(Analysis, "w", 1)
    boxes = COVER.boxes(2400, 2000)
    ledger.succeed([(job, count(boxes, [1.0] * len(boxes), threshold=0.5, temperature=1).as_dict())])
    answer = page.get(case.get_absolute_url())
    [picture] = answer.context["pictures"]
    assert len(picture.tiles) == len(boxes) > 300
    assert not picture.labelled
    assert sum(tile.width * tile.height for tile in picture.tiles) == 2400 * 2000


def test_pages_need_a_constant_number_of_queries(
    page: Client, submit: Any, ana: Any, upload: Any, finish: Any, django_assert_max_num_queries: Any
) -> None:
    for _ in range(6):
        submit(ana, upload(), upload())
    finish()
    with django_assert_max_num_queries(10):
        page.get("/cases/")


def test_the_history_does_not_read_the_votes(page: Client, submit: Any, ana: Any, finish: Any) -> None:
    submit(ana)
    finish()
    with CaptureQueriesContext(connection) as queries:
        page.get("/cases/")
    assert not any('"votes"' in query["sql"] for query in queries)


def test_a_synthetic_model_is_named_where_people_look_first(page: Client, submit: Any, ana: Any, finish: Any) -> None:
    case = submit(ana)
    finish()
    history, result = (page.get(url).content.decode() for url in ("/cases/", case.get_absolute_url()))
    assert "synthetic model" in history
    summary = result.partition("</section>")[0]
    for said in ("synthetic model", "trained on synthetic images", "tiny v1"):
        assert said in summary
    ModelVersion.objects.update(metadata={"synthetic": False})
    assert "synthetic model" not in page.get("/cases/").content.decode()
    assert "synthetic model" not in page.get(case.get_absolute_url()).content.decode()


@pytest.mark.parametrize(
    ("metrics", "sentence"),
    [
        ({"protocol": "patient"}, "on patients that the model was not trained on"),
        ({"protocol": "thesis"}, "on images that the model was not trained on"),
    ],
)
def test_a_measured_model_says_where_its_threshold_is_from(
    page: Client, submit: Any, ana: Any, finish: Any, metrics: dict[str, str], sentence: str
) -> None:
    case = submit(ana)
    finish()
    assert "The threshold was chosen" not in page.get(case.get_absolute_url()).content.decode()
    ModelVersion.objects.update(metadata={"metrics": metrics})
    assert sentence in page.get(case.get_absolute_url()).content.decode()


def test_each_case_with_the_same_picture_is_named_once(page: Client, submit: Any, ana: Any, upload: Any) -> None:
    submit(ana, upload(name="a.png"), upload(name="b.png"), reference="earlier")
    case = submit(ana, upload(name="good.png"), upload(name="again.png"), reference="later")
    text = page.get(case.get_absolute_url()).content.decode()
    assert text.count("Same image as in case") == text.count(">earlier</a>") == 2
    assert text.count("Same image as good.png of this case.") == 1
    assert text.count("Same image as again.png of this case.") == 1
    assert ">later</a>" not in text


def test_the_language_can_be_changed(page: Client) -> None:
    answer = page.post("/language/setlang/", {"language": "es", "next": "/cases/"}, follow=True)
    assert 'lang="es"' in answer.content.decode()
    assert "Historial" in answer.content.decode()


def test_errors_of_the_api_speak_the_readers_language(page: Client) -> None:
    answer = page.post("/api/v1/cases/", headers={"Accept-Language": "es"})
    assert answer.json()["code"] == "required"
    assert answer.json()["detail"] == "Este campo es requerido."


def test_unknown_pages_are_404_for_everybody(client: Client, page: Client) -> None:
    assert page.get("/nothing/here/").status_code == 404
    assert Client().get("/cases/00000000-0000-0000-0000-000000000000/").status_code == 302
    assert page.get("/cases/00000000-0000-0000-0000-000000000000/").status_code == 404
    assert page.get("/cases/not-an-id/").status_code == 404
