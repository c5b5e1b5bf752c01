"""Data sets from zips, folders and reviews, and what their check says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from patchvote.jobs import ledger
from patchvote.jobs.models import State
from patchvote.training import data_sets
from patchvote.training.data_set_check import DataSetHandler
from patchvote.training.job_registry import SHORT
from patchvote.training.models import DataSet, Source
from patchvote.training.overview import overview
from testing.data_sets import pack
from testing.images import encode, noise
from testing.training import as_upload

pytestmark = pytest.mark.django_db(transaction=True)

MANIFEST = "path,label,patient\n"


def refused(data: bytes) -> list[str]:
    with pytest.raises(data_sets.DataSetRefusedError) as refusal:
        data_sets.add_archive(DataSet(name="bad"), as_upload(data))
    assert not DataSet.objects.exists()
    return refusal.value.problems


def checked_problems(data: bytes, train: Callable[[], None]) -> list[str]:
    added = DataSet(name="bad")
    data_sets.add_archive(added, as_upload(data))
    train()
    added.refresh_from_db()
    assert added.state == State.FAILED
    assert added.error_code == "data_set_problems"
    assert not added.images.exists()
    assert not added.root.exists()
    assert not added.archive.exists()
    return added.error_details


def test_a_zip_of_a_breakhis_tree_is_checked_and_counted(real_children: Any, checked: DataSet) -> None:
    assert (checked.image_count, checked.patient_count) == (16, 8)
    assert checked.synthetic
    assert len(checked.fingerprint) == 64
    assert checked.size_in_bytes > 0
    assert not checked.archive.exists()
    found = overview(checked)
    assert [(row.label, row.total, row.patients) for row in found.rows] == [("benign", 8, 4), ("malignant", 8, 4)]
    assert found.magnifications == ["40X"]
    assert len(found.patients) == 8
    assert found.shared == []
    assert all((checked.root / image.path).is_file() for image in checked.images.all())


def test_the_same_name_again_is_the_next_version_and_its_duplicates_are_shown(
    checked: DataSet, zipped: bytes, train: Callable[[], None]
) -> None:
    again = DataSet(name=checked.name)
    data_sets.add_archive(again, as_upload(zipped))
    train()
    again.refresh_from_db()
    assert (checked.version, again.version) == (1, 2)
    assert again.fingerprint == checked.fingerprint
    [shared] = overview(again).shared
    assert (shared.data_set, shared.images, shared.patients, shared.contradictions) == (checked, 16, 8, 0)


def test_contradictions_with_another_data_set_are_counted(
    checked: DataSet, tree: Path, tmp_path: Path, train: Callable[[], None]
) -> None:
    benign = sorted(path for path in tree.rglob("SOB_B_*.png"))[:2]
    malignant = sorted(path for path in tree.rglob("SOB_M_*.png"))[:2]
    rows = [f"{p.name},malignant,{i}\n" for i, p in enumerate(benign)]
    rows += [f"{p.name},benign,m{i}\n" for i, p in enumerate(malignant)]
    files = {p.name: p.read_bytes() for p in (*benign, *malignant)}
    other = DataSet(name="swapped")
    data_sets.add_archive(other, as_upload(pack({"manifest.csv": (MANIFEST + "".join(rows)).encode(), **files})))
    train()
    [shared] = overview(other).shared
    assert (shared.images, shared.contradictions) == (4, 4)


def test_a_folder_is_read_where_it_lies(tree: Path, settings: Any, train: Callable[[], None]) -> None:
    root = settings.DATA_ROOTS[0]
    shutil.copytree(tree, root / "lab" / "2026")
    assert data_sets.folders_to_choose() == ["lab"]
    added = DataSet(name="lab")
    data_sets.add_folder(added, "lab/2026")
    train()
    added.refresh_from_db()
    assert (added.state, added.source, added.image_count) == (State.SUCCEEDED, Source.FOLDER, 16)
    assert added.root == root / "lab" / "2026"
    data_sets.remove_files(added)
    assert (root / "lab" / "2026").is_dir()


@pytest.mark.parametrize("folder", ["..", "/etc", "missing", "link", ""])
def test_no_folder_outside_the_data_roots(folder: str, settings: Any, tmp_path: Path) -> None:
    root = settings.DATA_ROOTS[0]
    root.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (root / "link").symlink_to(tmp_path / "elsewhere")
    if folder == "":
        data_sets.find_folder(folder)  # the root itself
        return
    with pytest.raises(data_sets.DataSetRefusedError, match="is not a folder below"):
        data_sets.add_folder(DataSet(name="bad"), folder)
    assert not DataSet.objects.exists()


def test_what_a_zips_list_of_contents_gives_away_is_refused_at_once(png: bytes) -> None:
    assert refused(b"not a zip")
    assert refused(b"")
    assert any(".." in sentence for sentence in refused(pack({"../../evil.png": png})))
    assert refused(pack({"bomb.png": b"\0" * 50_000_000}))


def test_all_problems_of_a_manifest_are_listed(png: bytes, train: Callable[[], None]) -> None:
    rows = "a.png,benign,1\nb.png,healthy,2\nmissing.png,malignant,3\nc.png,malignant,\n"
    problems = checked_problems(
        pack({"manifest.csv": (MANIFEST + rows).encode(), "a.png": png, "b.png": png, "c.png": b"text"}), train
    )
    text = "\n".join(problems)
    assert "'healthy'" in text
    assert "missing.png is missing" in text
    assert "patient is empty" in text
    assert "c.png" in text
    assert "/data-sets/" not in text


def test_a_worker_that_is_asked_to_stop_gives_the_job_back(
    data_set: DataSet, monkeypatch: pytest.MonkeyPatch, real_children: Any
) -> None:
    from patchvote.jobs import heartbeat
    from patchvote.training import worker

    asked = iter([False, True])
    monkeypatch.setattr(heartbeat, "stopping", lambda: next(asked))
    worker.work()
    data_set.refresh_from_db()
    assert data_set.state == State.QUEUED
    assert data_set.advanced_at_attempt == data_set.attempts == 1


def test_a_late_worker_leaves_alone_what_another_one_works_on(data_set: DataSet, real_children: Any) -> None:
    from patchvote.training import worker

    slot = worker.Slot(SHORT, [])
    slot.step()
    DataSet.objects.filter(pk=data_set.pk).update(worker="another", attempts=2)
    slot.step()
    assert slot._supervisor is None
    assert data_set.archive.is_file()
    data_set.refresh_from_db()
    assert (data_set.state, data_set.worker) == (State.RUNNING, "another")


def test_a_locked_database_ends_no_child(
    data_set: DataSet, train: Callable[[], None], monkeypatch: pytest.MonkeyPatch, real_children: Any
) -> None:
    from django.db import OperationalError

    claim, calls = ledger.claim, iter(range(1_000_000))

    def sometimes(model: Any, *arguments: Any, **named: Any) -> Any:
        if next(calls) % 5 == 4:
            raise OperationalError("database is locked")
        return claim(model, *arguments, **named)

    monkeypatch.setattr(ledger, "claim", sometimes)
    train()
    data_set.refresh_from_db()
    assert (data_set.state, data_set.attempts) == (State.SUCCEEDED, 1)


def test_a_job_that_could_not_be_begun_is_not_held_for_ever(data_set: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    from patchvote.training import worker

    def away(*_: Any) -> Any:
        raise OperationalError("the database is away")

    at_work: list[Any] = []
    monkeypatch.setattr(DataSetHandler, "create_order", away)
    monkeypatch.setattr(ledger, "expire_lease", away)
    with pytest.raises(OperationalError):
        worker.Slot(SHORT, at_work).step()
    assert at_work == []


def test_what_the_database_has_no_room_for_is_refused(png: bytes, train: Callable[[], None]) -> None:
    rows = f"a.png,benign,{'p' * 101}\nb.png,malignant,2\n"
    other = encode(noise(seed=5))
    problems = checked_problems(pack({"manifest.csv": (MANIFEST + rows).encode(), "a.png": png, "b.png": other}), train)
    assert problems == ["a.png: patient has more than 100 characters, or a NUL character."]


def test_a_data_set_cancelled_before_its_check_leaves_no_files(data_set: DataSet) -> None:
    assert data_set.archive.is_file()
    assert ledger.cancel(DataSet, [data_set.pk]) == 1
    assert not data_set.archive.exists()


def test_reviewed_cases_become_a_data_set(
    submit: Any, finish: Any, make_user: Any, train: Callable[[], None], upload: Any
) -> None:
    from patchvote.cases.review import services as reviews

    ana, reviewer = make_user("ana"), make_user("rosa", "reviewer")
    cases = [submit(ana, upload(encode(noise(seed=seed))), reference=f"B-{seed}") for seed in range(3)]
    finish()
    first, second, third = (case.images.get() for case in cases)
    reviews.review(first, reviewer, "confirmed")
    reviews.review(second, reviewer, "corrected", comment="only hyperplasia")
    reviews.review(third, reviewer, "unfit")
    added = DataSet(name="reviewed")
    today = timezone.localdate().isoformat()
    data_sets.add_reviews(added, {"since": today, "until": today})
    early = DataSet(name="early")
    data_sets.add_reviews(early, {"until": "2020-01-01"})
    train()
    added.refresh_from_db()
    early.refresh_from_db()
    assert (early.state, early.error_code) == (State.FAILED, "nothing_reviewed")
    assert added.state == State.SUCCEEDED, (added.error, added.error_details)
    assert sorted(added.images.values_list("label", "patient")) == [("benign", "b-1"), ("malignant", "b-0")]
    assert any("unfit" in note for note in added.notes)


def test_without_reviews_there_is_nothing_to_make_a_data_set_of(train: Callable[[], None]) -> None:
    added = DataSet(name="reviewed")
    data_sets.add_reviews(added, {"only_corrected": True})
    train()
    added.refresh_from_db()
    assert (added.state, added.error_code) == (State.FAILED, "nothing_reviewed")
