"""Submitting, cancelling, analysing again: all or nothing, and nothing lost."""

from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage

from patchvote.cases import pixel_cache, services, submissions
from patchvote.cases.inference import model_cache
from patchvote.cases.models import Analysis, Case, Image
from patchvote.jobs import ledger
from patchvote.jobs.models import State
from patchvote.registry.models import Alias
from patchvote.registry.services import NoChampionError
from testing.files import files_in
from testing.images import encode, noise


@pytest.fixture
def user(make_user: Any) -> Any:
    return make_user("ana")


def test_a_submission_stores_everything(submit: Any, upload: Any, user: Any, tiny_champion: Any, png: bytes) -> None:
    second = encode(noise(seed=1), "JPEG")
    case = submit(
        user, upload(), upload(second, r"C:\folder\..\b ñ.jpg"), reference="B-1", notes="n", magnification="100X"
    )
    assert (case.state, case.verdict) == (State.QUEUED, "")
    first, other = case.images.all()
    assert (first.filename, other.filename) == ("slide.png", "b ñ.jpg")
    assert (other.width, other.height, other.format) == (700, 460, "JPEG")
    with first.file.open() as file:
        assert file.read() == png
    assert "slide" not in first.file.name
    for image in (first, other):
        assert image.analysis.model_version == tiny_champion
        assert image.analysis.state == State.QUEUED


def test_one_bad_file_refuses_all_and_stores_nothing(submit: Any, upload: Any, user: Any, media: Path) -> None:
    bad = [
        upload(b"", "empty.png"),
        upload(),
        upload(b"text", "notes.txt"),
        upload(encode(noise(100, 100)), "small.png"),
    ]
    with pytest.raises(submissions.SubmissionError) as caught:
        submit(user, *bad)
    assert [(r.filename, r.code) for r in caught.value.refusals] == [
        ("empty.png", "empty"),
        ("notes.txt", "not_an_image"),
        ("small.png", "too_small"),
    ]
    assert not Case.objects.exists()
    assert files_in(media) == []


def test_too_many_images_are_refused(submit: Any, upload: Any, user: Any, settings: Any) -> None:
    settings.UPLOAD_MAX_IMAGES = 2
    with pytest.raises(submissions.SubmissionError, match="at most 2"):
        submit(user, *(upload() for _ in range(3)))


def test_a_failure_in_the_database_leaves_no_file(submit: Any, user: Any, media: Path, monkeypatch: Any) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(Analysis.objects, "bulk_create", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        submit(user)
    assert files_in(media) == []
    assert not Case.objects.exists()


def test_a_full_disk_leaves_no_part_of_a_file(submit: Any, upload: Any, user: Any, media: Path, settings: Any) -> None:
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": "testing.storages.FullDiskStorage"}}
    with pytest.raises(OSError, match="No space"):
        submit(user, upload(), upload())
    assert files_in(media) == []
    assert not Case.objects.exists()


def test_without_a_champion_nothing_is_stored(user: Any, upload: Any, media: Path) -> None:
    with pytest.raises(NoChampionError, match="register_bundle"):
        submissions.submit(user, [upload()])
    assert files_in(media) == []


def test_the_same_key_gives_the_same_case(submit: Any, upload: Any, user: Any, make_user: Any, media: Path) -> None:
    first = submit(user, idempotency_key="k")
    stored = files_in(media)
    again = submissions.submit(user, [upload()], idempotency_key="k")
    assert (again.case, again.repeated) == (first, True)
    assert files_in(media) == stored
    with pytest.raises(submissions.KeyReusedError):
        submit(user, upload(encode(noise(seed=9))), idempotency_key="k")
    assert submit(make_user("ben"), idempotency_key="k") != first  # a key is a person's own
    assert submit(user) != submit(user)  # no key: two cases


def test_a_worker_brings_the_verdict(submit: Any, upload: Any, user: Any, work: Any) -> None:
    case = submit(user, upload(), upload(encode(noise(300, 300))))
    work()
    case.refresh_from_db()
    assert case.state == State.SUCCEEDED
    analyses = [image.analysis for image in case.images.all()]
    assert [len(a.votes) for a in analyses] == [15, 4]
    assert case.verdict == max((a.verdict for a in analyses), key=["benign", "malignant"].index)
    for analysis in analyses:
        assert analysis.malignant_share == analysis.malignant_votes / len(analysis.votes)
        assert (analysis.verdict == "malignant") == (analysis.malignant_share > analysis.threshold)
        assert analysis.engine.startswith("cpu")


@pytest.mark.parametrize(
    ("verdicts", "gravest"),
    [(["benign", "benign"], "benign"), (["benign", "malignant"], "malignant"), (["malignant", "benign"], "malignant")],
)
def test_a_cases_verdict_is_the_gravest(submit: Any, upload: Any, user: Any, verdicts: list[str], gravest: str) -> None:
    case = submit(user, upload(), upload())
    for job, verdict in zip(ledger.claim(Analysis, "w", 2), verdicts, strict=True):
        case.refresh_from_db()
        assert case.state == State.RUNNING
        ledger.succeed([(job, {"verdict": verdict, "votes": []})])
    case.refresh_from_db()
    assert (case.state, case.verdict) == (State.SUCCEEDED, gravest)


def test_one_failure_fails_the_case_and_gives_no_verdict(submit: Any, upload: Any, user: Any) -> None:
    case = submit(user, upload(), upload())
    first, second = ledger.claim(Analysis, "w", 2)
    ledger.fail(first, "code", "why")
    ledger.succeed([(second, {"verdict": "malignant", "votes": []})])
    case.refresh_from_db()
    assert (case.state, case.verdict) == (State.FAILED, "")


def test_a_vanished_file_fails_its_image_alone(submit: Any, upload: Any, user: Any, work: Any) -> None:
    case = submit(user, upload(), upload())
    first, second = case.images.all()
    default_storage.delete(first.file.name)
    pixel_cache.discard(first)
    work()
    assert (first.analysis.state, first.analysis.error_code) == (State.FAILED, "file_gone")
    assert second.analysis.state == State.SUCCEEDED


def test_lower_bounds_for_new_images_leave_stored_ones_readable(
    submit: Any, upload: Any, user: Any, work: Any, settings: Any
) -> None:
    from patchvote.cases import thumbnails

    case = submit(user)
    settings.UPLOAD_MAX_PIXELS = settings.UPLOAD_MAX_BYTES = 1000
    with pytest.raises(submissions.SubmissionError):
        submit(user, upload())
    work()
    image = case.images.get()
    assert image.analysis.state == State.SUCCEEDED
    assert thumbnails.preview(image, "full")


def test_an_image_smaller_than_the_models_patches_is_refused(
    submit: Any, upload: Any, user: Any, tiny_bundle: Any, tmp_path: Path
) -> None:
    from classifier import bundle
    from classifier.grid import PatchGrid
    from patchvote.registry import promotions
    from patchvote.registry import services as registry

    metadata = tiny_bundle.metadata.model_copy(update={"grid": PatchGrid(size=300, stride=150)})
    promotions.promote(
        registry.register(bundle.save(tmp_path / "wide", tiny_bundle.module().state_dict(), metadata).folder),
        gate=False,
    )
    with pytest.raises(submissions.SubmissionError, match="at least 300"):
        submit(user, upload(encode(noise(400, 299))))
    assert submit(user, upload(encode(noise(400, 300))))


def test_a_large_upload_is_moved_to_its_place(submit: Any, user: Any, settings: Any) -> None:
    from django.core.files.uploadedfile import TemporaryUploadedFile

    data = encode(noise(1200, 1000), "BMP")
    large = TemporaryUploadedFile("large.bmp", "image/bmp", len(data), None)
    large.write(data)
    image = submit(user, large).images.get()
    large.close()  # as the end of a request does
    with image.file.open() as file:
        assert file.read() == data
    assert list(Path(settings.FILE_UPLOAD_TEMP_DIR).iterdir()) == []
    assert Path(image.file.path).stat().st_mode & 0o077 == 0


def test_a_changed_model_fails_with_what_to_do(submit: Any, user: Any, work: Any, tiny_champion: Any) -> None:
    case = submit(user)
    model_cache._loaded.clear()
    (tiny_champion.folder / "metadata.json").write_text("{}")
    work()
    analysis = case.images.get().analysis
    assert (analysis.state, analysis.error_code) == (State.FAILED, "model_unusable")


def test_cancel_and_analyse_again(submit: Any, user: Any, work: Any) -> None:
    case = submit(user)
    with pytest.raises(services.StateError):
        services.analyse_again(case)
    services.cancel(case)
    assert case.state == State.CANCELLED
    with pytest.raises(services.StateError):
        services.cancel(case)
    work()
    case.refresh_from_db()
    assert case.state == State.CANCELLED
    services.analyse_again(case)
    assert case.state == State.QUEUED
    work()
    case.refresh_from_db()
    assert case.state == State.SUCCEEDED
    history = case.images.get().analyses.order_by("queued_at")
    assert [(a.state, a.current) for a in history] == [("cancelled", False), ("succeeded", True)]


def test_analysing_again_uses_the_new_champion_and_keeps_the_old_result(
    submit: Any, user: Any, work: Any, tiny_bundle: Any, tmp_path: Path
) -> None:
    from classifier import bundle
    from patchvote.registry import promotions
    from patchvote.registry import services as registry

    case = submit(user)
    work()
    old = case.images.get().analysis
    metadata = tiny_bundle.metadata.model_copy(update={"threshold": 0.25})
    newer = registry.register(bundle.save(tmp_path / "v2", tiny_bundle.module().state_dict(), metadata).folder)
    promotions.promote(newer, gate=False)
    assert newer.version == 2
    services.analyse_again(case)
    work()
    new = case.images.get().analysis
    assert (new.model_version, new.threshold) == (newer, 0.25)
    old.refresh_from_db()
    assert (old.threshold, old.current) == (0.5, False)


def test_a_queued_analysis_keeps_the_champion_of_its_moment(
    submit: Any, user: Any, work: Any, tiny_champion: Any
) -> None:
    case = submit(user)
    Alias.objects.all().delete()
    work()
    assert case.images.get().analysis.model_version == tiny_champion
    assert case.images.get().analysis.state == State.SUCCEEDED


def test_equal_pictures_are_found_among_what_one_may_see(submit: Any, upload: Any, make_user: Any) -> None:
    ana, ben, eva = make_user("ana"), make_user("ben"), make_user("eva", "reviewer")
    earlier = submit(ana).images.get()
    bens = submit(ben).images.get()
    same = submit(ana, upload(encode(noise(), "BMP"), "copy.bmp")).images.get()
    assert services.duplicates_of(same, ana) == [earlier]
    assert services.duplicates_of(same, eva) == [earlier, bens]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("a\x00b\n.png", "ab.png"),
        ("", "image"),
        ("x" * 300 + ".png", "x" * 251 + ".png"),
    ],
)
def test_file_names_become_harmless_text(given: str, kept: str) -> None:
    from django.core.files.base import ContentFile

    file = ContentFile(b"")
    file.name = given
    assert submissions.file_name(file) == kept


def test_with_images_needs_a_constant_number_of_queries(
    submit: Any, upload: Any, user: Any, django_assert_num_queries: Any
) -> None:
    for _ in range(4):
        submit(user, upload(), upload())
    with django_assert_num_queries(4):
        for case in Case.objects.with_images():
            assert all(image.analysis.model_version.name and not image.label for image in case.all_images)
    assert Image.objects.count() == 8
