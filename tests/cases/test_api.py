"""The contract of the REST API."""

from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from PIL import Image as Picture

from patchvote.cases.models import Analysis, Case
from testing.files import files_in
from testing.images import encode, noise

CASES = "/api/v1/cases/"

pytestmark = pytest.mark.usefixtures("tiny_champion")


@pytest.fixture
def ana(make_user: Any) -> Any:
    return make_user("ana")


@pytest.fixture
def client(api: Any, ana: Any) -> Any:
    return api(ana)


def test_a_case_from_upload_to_verdict(client: Any, upload: Any, work: Any, tiny_champion: Any) -> None:
    answer = client.post(CASES, {"images": [upload()], "reference": "B-2026-017", "notes": "left"})
    assert answer.status_code == 202
    case = answer.json()
    assert answer["Location"] == case["url"]
    assert answer["Retry-After"] == "1"
    assert set(case) == {
        "id", "url", "reference", "notes", "magnification", "synthetic", "created_at", "state", "verdict", "images",
    }  # fmt: skip
    assert (case["state"], case["verdict"], case["magnification"]) == ("queued", None, "40X")
    assert case["created_at"].endswith("Z")
    [image] = case["images"]
    assert set(image) == {"id", "filename", "sha256", "width", "height", "url", "analysis", "label", "reviews"}
    assert set(image["analysis"]) == {
        "id", "state", "verdict", "malignant_share", "threshold", "malignant_probability", "model", "attempts",
        "queued_at", "started_at", "finished_at", "error", "votes",
    }  # fmt: skip
    work()
    answer = client.get(case["url"])
    assert answer.status_code == 200
    assert "Retry-After" not in answer
    case = answer.json()
    analysis = case["images"][0]["analysis"]
    assert case["state"] == analysis["state"] == "succeeded"
    assert case["verdict"] == analysis["verdict"] in {"benign", "malignant"}
    assert analysis["model"] == {"name": "tiny", "version": 1, "sha256": tiny_champion.sha256}
    assert analysis["attempts"] == 1 and analysis["error"] is None
    assert len(analysis["votes"]) == 15
    assert set(analysis["votes"][0]) == {"row", "column", "x", "y", "width", "height", "malignant_probability", "vote"}
    malignant = sum(vote["vote"] == "malignant" for vote in analysis["votes"])
    assert analysis["malignant_share"] == pytest.approx(malignant / 15)


def test_the_answer_to_an_upload_is_what_is_read_later_without_reading_it(client: Any, upload: Any) -> None:
    with CaptureQueriesContext(connection) as queries:
        answer = client.post(CASES, {"images": [upload(), upload()], "reference": "B-1"})
    asked = [query["sql"] for query in queries]
    assert [sql for sql in asked if sql.startswith("INSERT") and "cases_image" in sql]
    assert not [sql for sql in asked if sql.startswith("SELECT") and "cases_" in sql]
    read = client.get(answer.json()["url"])
    assert answer.json() == read.json()
    assert (answer["ETag"], answer["Retry-After"]) == (read["ETag"], read["Retry-After"])


BAD = {
    "empty": (b"", 400),
    "not_an_image": (b"hello", 400),
    "unsupported_format": (b"GIF89a" + b"\0" * 40, 400),
    "truncated": (encode(noise())[:4000], 400),
    "too_small": (encode(noise(224, 460)), 400),
    "too_many_pixels": (encode(noise(1200, 1000)), 400),
    "several_images": (
        encode(Picture.fromarray(noise()), "TIFF", save_all=True, append_images=[Picture.new("RGB", (300, 300))]),
        400,
    ),
    "too_many_bytes": (encode(noise(), "BMP") + b"\0" * 2_000_000, 413),
}


@pytest.mark.parametrize("code", BAD)
def test_every_bad_file_has_its_code_and_stores_nothing(client: Any, code: str, settings: Any, media: Path) -> None:
    settings.UPLOAD_MAX_PIXELS = 1_000_000
    settings.UPLOAD_MAX_BYTES = 2_000_000
    data, status = BAD[code]
    answer = client.post(CASES, {"images": [SimpleUploadedFile("bad.png", data)]})
    assert answer.status_code == status
    body = answer.json()
    assert body["code"] == code
    assert body["detail"] == body["images"][0]["message"]
    assert body["images"][0]["code"] == code and body["images"][0]["filename"] == "bad.png"
    assert not Case.objects.exists()
    assert files_in(media) == []


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({}, "images", "required"),
        ({"images": []}, "images", "required"),
        ({"images": "text"}, "images", "invalid"),
        ({"magnification": "41X"}, "magnification", "invalid_choice"),
        ({"reference": "x" * 101}, "reference", "max_length"),
        ({"notes": "x" * 5001}, "notes", "max_length"),
        ({"reference": "a\x00b"}, "reference", "null_characters_not_allowed"),
    ],
)
def test_bad_fields_are_named(client: Any, upload: Any, fields: dict[str, Any], field: str, code: str) -> None:
    if field != "images":
        fields = {"images": [upload()], **fields}
    answer = client.post(CASES, fields)
    assert answer.status_code == 400
    assert answer.json()["code"] == code
    assert field in answer.json()
    assert not Case.objects.exists()


def test_errors_are_lists_however_deep_they_lie(client: Any) -> None:
    body = client.post(CASES, {"images": "text"}).json()
    assert body["images"] == [{"message": body["detail"], "code": "invalid"}]


def test_unknown_paths_below_api_are_json(client: Any) -> None:
    answer = client.get("/api/v1/nonsense/")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_times_that_no_calendar_has_are_refused(client: Any) -> None:
    for moment in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31", "2026-13-01", "x" * 5000):
        answer = client.get(CASES, {"created_before": moment})
        assert answer.status_code == 400, moment
        assert "created_before" in answer.json()


def test_a_day_means_all_of_it(client: Any, submit: Any, ana: Any) -> None:
    day = submit(ana).created_at.date().isoformat()
    assert client.get(CASES, {"created_after": day, "created_before": day}).json()["count"] == 1


def test_a_damaged_file_on_the_server_has_no_picture(client: Any, submit: Any, ana: Any, media: Path) -> None:
    image = submit(ana).images.get()
    Path(image.file.path).write_bytes(b"")
    answer = client.get(image.get_absolute_url())
    assert (answer.status_code, answer.json()["code"]) == (404, "file_gone")


def test_a_body_that_is_no_form_is_refused(client: Any) -> None:
    assert client.post(CASES, {"images": []}, format="json").status_code == 415
    broken = client.generic("POST", CASES, b"--x\r\nnonsense", content_type="multipart/form-data; boundary=")
    assert broken.status_code == 400
    assert broken.json()["code"] == "parse_error"


def test_a_body_in_chunks_is_told_to_say_its_length(client: Any) -> None:
    answer = client.generic(
        "POST", CASES, content_type="multipart/form-data; boundary=x", headers={"Transfer-Encoding": "chunked"}
    )
    assert (answer.status_code, answer.json()["code"]) == (411, "length_required")


def test_a_request_larger_than_a_case_may_be_is_413(client: Any, settings: Any, upload: Any, media: Path) -> None:
    settings.UPLOAD_MAX_IMAGES = 1
    settings.UPLOAD_MAX_BYTES = 1000
    answer = client.post(CASES, {"images": [upload(b"\0" * 1_200_000)]})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_bytes")
    assert files_in(media) == []


def test_an_idempotency_key_answers_with_the_first_case(client: Any, upload: Any) -> None:
    first = client.post(CASES, {"images": [upload()]}, headers={"Idempotency-Key": "k1"})
    second = client.post(CASES, {"images": [upload()]}, headers={"Idempotency-Key": "k1"})
    assert second.status_code == 202
    assert second.json()["id"] == first.json()["id"]
    assert second["Location"] == first["Location"]
    assert second["Idempotent-Replayed"] == "true"
    other = client.post(CASES, {"images": [upload(encode(noise(seed=2)))]}, headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    long = client.post(CASES, {"images": [upload()]}, headers={"Idempotency-Key": "k" * 201})
    assert long.status_code == 400
    assert Case.objects.count() == 1


def test_the_broker_being_away_is_no_error(client: Any, upload: Any, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        answer = client.post(CASES, {"images": [upload()]})
    assert callbacks  # the wake-up was tried, and no Redis listens here
    assert answer.status_code == 202


def test_lists_are_filtered_ordered_and_paged(client: Any, submit: Any, ana: Any, upload: Any, work: Any) -> None:
    for number in range(27):
        submit(ana, upload(encode(noise(230, 230, seed=number))), reference=f"B-{number:03}")
    page = client.get(CASES).json()
    assert (page["count"], len(page["results"]), page["previous"]) == (27, 25, None)
    assert page["results"][0]["reference"] == "B-026"
    assert len(client.get(page["next"]).json()["results"]) == 2
    found = client.get(CASES, {"reference": "b-00", "ordering": "created_at"}).json()
    assert [case["reference"] for case in found["results"]] == [f"B-{n:03}" for n in range(10)]
    assert client.get(CASES, {"state": "succeeded"}).json()["count"] == 0
    work()
    verdicts = {case["verdict"] for case in client.get(CASES, {"state": "succeeded"}).json()["results"]}
    for verdict in verdicts:
        assert {c["verdict"] for c in client.get(CASES, {"verdict": verdict}).json()["results"]} == {verdict}
    tenth = client.get(CASES, {"reference": "B-010"}).json()["results"][0]["created_at"]
    assert client.get(CASES, {"created_after": tenth}).json()["count"] == 17
    assert client.get(CASES, {"created_before": tenth}).json()["count"] == 10
    for bad in ({"state": "nope"}, {"verdict": "x"}, {"created_after": "yesterday"}):
        assert client.get(CASES, bad).status_code == 400
    assert client.get(CASES, {"page": 99}).status_code == 404


def test_cancel_and_reanalyse(client: Any, submit: Any, ana: Any, work: Any) -> None:
    url = f"{CASES}{submit(ana).pk}/"
    refused = client.post(f"{url}reanalyse/")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_ended")
    cancelled = client.post(f"{url}cancel/")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert client.post(f"{url}cancel/").status_code == 409
    again = client.post(f"{url}reanalyse/")
    assert (again.status_code, again.json()["state"]) == (202, "queued")
    work()
    assert client.get(url).json()["state"] == "succeeded"
    assert Analysis.objects.count() == 2


def test_failures_say_code_and_sentence(client: Any, submit: Any, ana: Any) -> None:
    from patchvote.jobs import ledger

    case = submit(ana)
    [job] = ledger.claim(Analysis, "w", 1)
    ledger.fail(job, "file_gone", "The file is gone.")
    body = client.get(f"{CASES}{case.pk}/").json()
    assert body["state"] == "failed" and body["verdict"] is None
    assert body["images"][0]["analysis"]["error"] == {"code": "file_gone", "message": "The file is gone."}


def test_models_are_listed_with_the_champion(client: Any, tiny_champion: Any) -> None:
    [model] = client.get("/api/v1/models/").json()["results"]
    assert model["champion"] is True
    assert (model["name"], model["version"], model["threshold"]) == ("tiny", 1, 0.5)
    one = client.get(f"/api/v1/models/{model['id']}/").json()
    assert one == model
    assert "Research use only" in one["intended_use"]


def test_sending_too_fast_is_429(client: Any, upload: Any, monkeypatch: Any) -> None:
    from django.core.cache import cache

    from patchvote.cases.api import SubmitThrottle

    cache.clear()
    monkeypatch.setattr(SubmitThrottle, "THROTTLE_RATES", {"submit": "2/min"})
    statuses = [client.post(CASES, {"images": [upload()]}).status_code for _ in range(3)]
    assert statuses == [202, 202, 429]
    cache.clear()


def test_the_schema_is_made_without_warnings(client: Any) -> None:
    from django.core.management import call_command

    call_command("spectacular", validate=True, fail_on_warn=True, file="/dev/null")
    assert client.get("/api/v1/schema/").status_code == 200
