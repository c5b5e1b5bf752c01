"""Models over REST: who may do what, and what it answers."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from patchvote.registry import promotions, services, uploads
from patchvote.registry.models import BundleUpload

MODELS = "/api/v1/models/"
pytestmark = pytest.mark.usefixtures("media")


@pytest.fixture
def clients(api: Any, make_user: Any) -> dict[str, Any]:
    roles = ("submitter", "reviewer", "admin")
    return {"nobody": api(), **{role: api(make_user(role, role)) for role in roles}}


def sent(packed: Path) -> dict[str, Any]:
    return {"bundle": SimpleUploadedFile("model.zip", packed.read_bytes())}


@pytest.mark.parametrize(
    ("call", "statuses"),
    [
        ("read", (401, 200, 200, 200)),
        ("download", (401, 403, 403, 200)),
        ("upload", (401, 403, 403, 202)),
        ("follow", (401, 403, 403, 200)),
        ("rollback", (401, 403, 403, 200)),
        ("promotions", (401, 403, 403, 200)),
    ],
)
def test_permissions(
    clients: dict[str, Any], make_version: Any, packed: Path, make_user: Any, call: str, statuses: tuple[int, ...]
) -> None:
    one, two = make_version(0.1), make_version(0.2)
    promotions.promote(one, gate=False)
    promotions.promote(two, gate=False)
    with packed.open("rb") as file:
        from django.core.files import File

        upload = uploads.upload(File(file, "x.zip"), by=make_user("other", "admin"))
    calls = {
        "read": lambda client: client.get(f"{MODELS}{one.pk}/"),
        "download": lambda client: client.get(f"{MODELS}{one.pk}/bundle/"),
        "upload": lambda client: client.post(MODELS, sent(packed), format="multipart"),
        "follow": lambda client: client.get(f"/api/v1/bundle-uploads/{upload.pk}/"),
        "rollback": lambda client: client.post(f"{MODELS}rollback/", {"reason": "why not"}, format="json"),
        "promotions": lambda client: client.get("/api/v1/promotions/"),
    }
    answers = [calls[call](client) for client in clients.values()]
    assert tuple(answer.status_code for answer in answers) == statuses
    for answer in answers:
        if answer.status_code == 403:
            assert answer.json()["code"] == "permission_denied"
            assert "role admin" in answer.json()["detail"]


def test_a_bundle_goes_round(clients: dict[str, Any], make_version: Any, packed: Path) -> None:
    answer = clients["admin"].post(MODELS, sent(packed), format="multipart")
    body = answer.json()
    assert (answer.status_code, body["state"], answer["Location"]) == (202, "queued", body["url"])
    assert answer["Retry-After"] == "1"
    assert BundleUpload.objects.get().created_by.username == "admin"
    assert clients["admin"].get(body["url"]).json() == body
    version = make_version(0.3)
    download = clients["admin"].get(f"{MODELS}{version.pk}/bundle/")
    assert download["Content-Type"] == "application/zip"
    data = b"".join(download.streaming_content)
    again = clients["admin"].post(MODELS, {"bundle": SimpleUploadedFile("a.zip", data)}, format="multipart")
    assert again.status_code == 202


def test_what_is_no_bundle_is_refused(clients: dict[str, Any]) -> None:
    bad = {"bundle": SimpleUploadedFile("model.pt", b"\x80\x04 pickle")}
    answer = clients["admin"].post(MODELS, bad, format="multipart")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_bundle")
    assert "never unpickled" in answer.json()["bundle"][0]["message"]
    assert clients["admin"].post(MODELS, {}, format="multipart").json()["code"] == "required"


def test_rollback_and_the_history(clients: dict[str, Any], make_version: Any) -> None:
    one, two = make_version(0.1), make_version(0.2)
    promotions.promote(one, gate=False)
    refused = clients["admin"].post(f"{MODELS}rollback/")
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_roll_back")
    promotions.promote(two, gate=False)
    answer = clients["admin"].post(f"{MODELS}rollback/", {"reason": "worse"}, format="json").json()
    assert (answer["id"], answer["champion"]) == (str(one.pk), True)
    newest = clients["admin"].get("/api/v1/promotions/").json()["results"][0]
    assert (newest["kind"], newest["version"]["version"], newest["previous"]["version"]) == ("rollback", 1, 2)
    assert (newest["by"], newest["reason"], newest["evidence"]) == ("admin", "worse", None)


def test_a_call_sent_twice_goes_one_step(clients: dict[str, Any], make_version: Any) -> None:
    versions = [make_version(threshold) for threshold in (0.1, 0.2, 0.3)]
    for version in versions:
        promotions.promote(version, gate=False)
    call = {"from": str(versions[2].pk)}
    answers = [clients["admin"].post(f"{MODELS}rollback/", call, format="json") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 409]
    assert answers[0].json()["id"] == str(versions[1].pk)
    assert answers[1].json()["code"] == "champion_changed"
    assert services.champion() == versions[1]
    for wrong in ("x", "00000000-0000-0000-0000-000000000000", None):
        answer = clients["admin"].post(f"{MODELS}rollback/", {"from": wrong}, format="json")
        assert answer.status_code == 400 and "from" in answer.json()
    assert services.champion() == versions[1]


def test_the_schema_names_what_shall_be_left(clients: dict[str, Any]) -> None:
    schema = clients["admin"].get("/api/v1/schema/?format=json").json()
    field = schema["components"]["schemas"]["Rollback"]["properties"]["from"]
    assert (field["type"], field["format"]) == ("string", "uuid")


def test_a_lost_bundle_cannot_be_downloaded(clients: dict[str, Any], make_version: Any) -> None:
    version = make_version()
    shutil.rmtree(version.folder)
    answer = clients["admin"].get(f"{MODELS}{version.pk}/bundle/")
    assert (answer.status_code, answer.json()["code"]) == (404, "bundle_unsound")


def test_long_lists_of_what_a_model_has_seen_stay_in_the_bundle(clients: dict[str, Any], make_version: Any) -> None:
    from classifier.bundle import Seen

    seen = Seen.of([f"p{n}" for n in range(50)], [f"{n:016x}{0:048}" for n in range(200)])
    version = make_version(seen=seen)
    assert version.metadata["seen"] == {"patients": 50, "images": 200}
    assert version.seen == seen
    assert make_version(0.2).seen is None
    text = clients["submitter"].get(MODELS).content.decode()
    assert seen.patients[0] not in text
