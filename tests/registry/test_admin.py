"""The registry's pages: looking, uploading, going back, downloading."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from classifier import bundle
from patchvote.core.upload_handlers import IMAGES, upload_limit
from patchvote.jobs import ledger
from patchvote.registry import promotions, services, uploads
from patchvote.registry.models import BundleUpload, ModelVersion, Origin

LIST = "/admin/registry/modelversion/"
ADD = "/admin/registry/bundleupload/add/"
ROLLBACK = "/admin/registry/modelversion/rollback/"


@pytest.fixture
def boss(client: Client, make_user: Any) -> Client:
    client.force_login(make_user("boss", "admin"))
    return client


def sent(data: bytes, name: str = "model.zip") -> dict[str, Any]:
    return {"bundle": SimpleUploadedFile(name, data, "application/zip")}


def accepted(upload: BundleUpload) -> dict[str, Any]:
    """What the training worker does, in this process."""
    [job] = ledger.claim(BundleUpload, "test", 1)
    unpacked = bundle.unpack(job.archive, job.folder / "bundle")
    fields = uploads.accept(job, unpacked.folder, {"sha256": unpacked.sha256})
    ledger.succeed([(job, fields)])
    uploads.delete_files(job)
    upload.refresh_from_db()
    return fields


def test_the_list_and_the_page_show_what_a_version_is_worth(boss: Client, media: Path, make_version: Any) -> None:
    shipped = services.register(bundle.SHIPPED, origin=Origin.SHIPPED, tried=True)
    other = make_version(0.7)
    promotions.promote(other, gate=False)
    promotions.promote(shipped, gate=False)
    page = boss.get(LIST).content.decode()
    assert "came with Patchvote" in page
    assert "0.871" in page
    assert f"Roll back to {other}" in page
    page = boss.get(f"{LIST}{shipped.pk}/change/").content.decode()
    for words in ("0.771 … 0.947", "lopo", "called malignant", "191", "Spanhol", f"{shipped.pk}/bundle/", "promoted"):
        assert words in page, words
    assert "It has never been champion" in boss.get(f"{LIST}{make_version(0.8).pk}/change/").content.decode()


def test_the_list_asks_as_often_for_many_as_for_few(
    boss: Client, make_version: Any, django_assert_max_num_queries: Any
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    make_version(0.1)
    boss.get(LIST)
    with CaptureQueriesContext(connection) as few:
        boss.get(LIST)
    for threshold in (0.2, 0.3, 0.4):
        make_version(threshold)
    with django_assert_max_num_queries(len(few)):
        boss.get(LIST)


def test_going_back_is_asked_first(boss: Client, make_version: Any) -> None:
    assert "no previous champion" in boss.get(ROLLBACK).content.decode()
    one, two = make_version(0.1), make_version(0.2)
    promotions.promote(one, gate=False)
    promotions.promote(two, gate=False)
    assert "Roll back to tiny v1" in boss.get(ROLLBACK).content.decode()
    assert services.champion() == two
    said = {"reason": "it finds less", "leaving": two.pk}
    page = boss.post(ROLLBACK, said, follow=True).content.decode()
    assert "New cases are analysed by tiny v1 again." in page
    assert services.champion() == one
    step = one.promotions.first()
    assert (step.kind, step.reason, step.by.username) == ("rollback", "it finds less", "boss")
    assert "no previous champion" in boss.post(ROLLBACK, follow=True).content.decode()


def test_a_second_click_goes_no_second_step(boss: Client, make_version: Any) -> None:
    versions = [make_version(threshold) for threshold in (0.1, 0.2, 0.3)]
    for version in versions:
        promotions.promote(version, gate=False)
    page = boss.get(ROLLBACK).content.decode()
    form = dict(re.findall(r'<input type="hidden" name="(leaving)" value="([^"]+)">', page))
    assert form == {"leaving": str(versions[2].pk)}
    pages = [boss.post(ROLLBACK, form, follow=True).content.decode() for _ in range(2)]
    assert "New cases are analysed by tiny v2 again." in pages[0]
    assert "iny v3 is no longer the champion; the current champion: tiny v2." in pages[1]
    assert services.champion() == versions[1]
    page = boss.post(ROLLBACK, {"reason": "without saying what"}).content.decode()
    assert "The current champion is missing from the request" in page and "without saying what" in page
    assert f'value="{versions[1].pk}"' in page
    assert services.champion() == versions[1]


def test_a_bundle_is_uploaded_tried_and_registered(boss: Client, media: Path, packed: Path, settings: Any) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1000  # so it arrives as a file
    assert "known image" in boss.get(ADD).content.decode()
    answer = boss.post(ADD, sent(packed.read_bytes(), "my model.zip"))
    upload = BundleUpload.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, upload.get_absolute_url())
    assert (upload.filename, upload.created_by.username, upload.state) == ("my model.zip", "boss", "queued")
    assert upload.archive.read_bytes() == packed.read_bytes()
    assert oct(upload.archive.stat().st_mode & 0o777) == "0o600"
    waiting = boss.get(upload.get_absolute_url()).content.decode()
    assert "No training worker is running" in waiting and f"/{upload.pk}/live/" in waiting
    accepted(upload)
    version = ModelVersion.objects.get()
    assert (version.origin, version.created_by, upload.model_version) == (Origin.UPLOAD, upload.created_by, version)
    assert not upload.folder.exists()
    page = boss.get(upload.get_absolute_url()).content.decode()
    assert "was registered" in page and "/live/" not in page
    assert upload.get_absolute_url() in boss.get(f"{LIST}{version.pk}/change/").content.decode()
    download: Any = boss.get(f"{LIST}{version.pk}/bundle/")
    assert b"".join(download.streaming_content) == packed.read_bytes()
    assert 'filename="tiny-v1.zip"' in download["Content-Disposition"]
    assert int(download["Content-Length"]) == packed.stat().st_size


def test_the_same_bundle_again_is_the_same_version(boss: Client, media: Path, packed: Path) -> None:
    for _ in range(2):
        boss.post(ADD, sent(packed.read_bytes()))
        accepted(BundleUpload.objects.first())  # type: ignore[arg-type]
    assert ModelVersion.objects.count() == 1
    assert BundleUpload.objects.filter(model_version=ModelVersion.objects.get()).count() == 2


def test_what_was_not_tried_is_not_registered(boss: Client, media: Path, packed: Path) -> None:
    boss.post(ADD, sent(packed.read_bytes()))
    upload = BundleUpload.objects.get()
    bundle.unpack(upload.archive, upload.folder / "bundle")
    with pytest.raises(bundle.BundleError, match="not the one"):
        uploads.accept(upload, upload.folder / "bundle", {"sha256": "0" * 64})
    assert not ModelVersion.objects.exists()


def test_a_refusal_is_shown(boss: Client, media: Path, packed: Path) -> None:
    boss.post(ADD, sent(packed.read_bytes()))
    [job] = ledger.claim(BundleUpload, "test", 1)
    ledger.fail(job, "bad_bundle", "The weights hold numbers that are none.")
    page = boss.get(job.get_absolute_url()).content.decode()
    assert "numbers that are none" in page and "failed" in page


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(b"no zip", "not a zip"), (b"\x80\x04 pickle", "never unpickled"), (b"", "empty")],
)
def test_what_is_no_bundle_is_refused_at_once(boss: Client, media: Path, data: bytes, sentence: str) -> None:
    page = boss.post(ADD, sent(data))
    assert page.status_code == 200
    assert sentence in page.content.decode()
    assert not BundleUpload.objects.exists()


def test_an_upload_has_its_own_bound(boss: Client, media: Path, packed: Path, settings: Any) -> None:
    settings.UPLOAD_MAX_BYTES, settings.UPLOAD_MAX_IMAGES = 1, 1
    assert boss.post(ADD, sent(packed.read_bytes())).status_code == 302
    settings.BUNDLE_MAX_BYTES = 2**20
    answer = boss.post(ADD, sent(packed.read_bytes()))
    assert (answer.status_code, "A bundle may have at most 1 MB." in answer.content.decode()) == (413, True)


def test_who_may_not_send_bundles_may_not_send_much(rf: Any, make_user: Any) -> None:
    for role, paths in {"reviewer": set(), "admin": {ADD, "/api/v1/models/"}}.items():
        user = make_user(role, role)
        for path in (ADD, "/api/v1/models/", "/cases/new/", "/api/v1/cases/"):
            request = rf.post(path)
            request.user = user
            assert (upload_limit(request) is not IMAGES) == (path in paths)


@pytest.mark.parametrize("role", ["submitter", "reviewer", None])
def test_pages_are_for_admins(client: Client, make_user: Any, make_version: Any, role: str | None) -> None:
    version = make_version(0.1)
    promotions.promote(version, gate=False)
    promotions.promote(make_version(0.2), gate=False)
    if role:
        client.force_login(make_user("x", role))
    for path in (LIST, ADD, ROLLBACK, f"{LIST}{version.pk}/bundle/", "/admin/registry/promotion/"):
        assert client.get(path).status_code == 302  # to the admin's sign-in
        assert client.post(path).status_code == 302
    assert services.champion().version == 2


def test_nothing_can_be_changed_by_hand(boss: Client, make_version: Any) -> None:
    version = make_version(0.1)
    promotions.promote(version, gate=False)
    step = version.promotions.get()
    for page in (f"modelversion/{version.pk}", f"promotion/{step.pk}"):
        assert boss.get(f"/admin/registry/{page}/change/").status_code == 200
        for act in ("change", "delete"):
            assert boss.post(f"/admin/registry/{page}/{act}/", {"post": "yes"}).status_code == 403
