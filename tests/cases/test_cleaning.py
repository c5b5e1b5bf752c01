"""Files that belong to no row are removed, and no others."""

import time
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from patchvote.cases import cleaning, pixel_cache, thumbnails
from patchvote.cases.models import Case


def files(*folders: Path) -> set[str]:
    return {path.name for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def places(media: Path, settings: Any, tmp_path: Path) -> tuple[Path, ...]:
    settings.CACHE_DIR = tmp_path / "cache"
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "uploads")
    pixel_cache.folder().mkdir(parents=True)
    (tmp_path / "uploads").mkdir()
    return media, pixel_cache.folder(), tmp_path / "uploads"


@pytest.fixture
def orphans(places: tuple[Path, ...]) -> set[str]:
    """What uploads that were cut off leave behind."""
    names = {"ab" + "0" * 30, "nonsense"}
    for name in names:
        default_storage.save(f"originals/ab/{name}", ContentFile(b"cut off"))
    (places[2] / "tmp1.upload").write_bytes(b"half")
    (places[1] / "old.npy").write_bytes(b"half")
    return names | {"tmp1.upload", "old.npy"}


def test_orphans_go_and_the_rest_stays(
    submit: Any, ana: Any, work: Any, settings: Any, places: tuple[Path, ...], orphans: set[str]
) -> None:
    settings.ORPHAN_SECONDS = 0
    image = submit(ana).images.get()
    work()
    thumbnails.preview(image, "thumbnail")
    everything = files(*places)
    assert orphans < everything
    assert cleaning.Cleaner().clean() == len(orphans)
    assert files(*places) == everything - orphans
    assert Path(image.file.path).exists()


def test_a_file_may_be_early(db: None, settings: Any, places: tuple[Path, ...], orphans: set[str]) -> None:
    cleaner = cleaning.Cleaner()
    for _ in range(3):
        assert cleaner.clean() == 0
    assert files(*places) == orphans
    settings.ORPHAN_SECONDS = 0
    assert cleaner.clean() == len(orphans)


def test_what_is_no_orphan_any_more_starts_anew(
    submit: Any, ana: Any, settings: Any, places: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    settings.ORPHAN_SECONDS = 100
    case = submit(ana)
    image = case.images.get()
    pixel_cache.discard(image)
    cleaner = cleaning.Cleaner()
    assert cleaner.clean() == 0
    now = 200.0
    assert cleaner.clean() == 0
    Case.objects.filter(pk=case.pk).delete()
    assert cleaner.clean() == 0
    now = 301.0
    assert cleaner.clean() == 1
    assert not Path(image.file.path).exists()


def test_a_long_round_goes_on_where_it_stopped(
    settings: Any, places: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    settings.ORPHAN_SECONDS = 0
    for number in range(5):
        default_storage.save(f"originals/{number}0/orphan", ContentFile(b"x"))
    looked: list[Any] = []
    clean_folder = cleaning.Cleaner._clean

    def slow(self: Any, folder: Any) -> int:
        looked.append(folder.path)
        return clean_folder(self, folder)

    monkeypatch.setattr(time, "monotonic", lambda: 10.0 * len(looked))
    monkeypatch.setattr(cleaning.Cleaner, "_clean", slow)
    cleaner = cleaning.Cleaner()
    rounds = 0
    while files(places[0]) and rounds < 20:
        cleaner.clean()
        rounds += 1
    assert rounds == len(looked) == len(set(looked))


def test_an_upload_that_still_arrives_is_left_alone(
    db: None, places: tuple[Path, ...], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ORPHAN_SECONDS = 100
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    arriving = places[2] / "large.upload"
    cleaner = cleaning.Cleaner()
    for number in range(1, 4):
        arriving.write_bytes(b"x" * number)
        assert cleaner.clean() == 0
        now += 150
    assert cleaner.clean() == 1


def test_what_was_not_written_to_its_end_goes(submit: Any, ana: Any, places: tuple[Path, ...], settings: Any) -> None:
    settings.ORPHAN_SECONDS = 0
    image = submit(ana).images.get()
    pixel_cache.discard(image)
    default_storage.save(f"previews/{image.pk.hex[:2]}/{image.pk.hex}-full.jpg", ContentFile(b"whole"))
    half = Path(image.file.path).with_name(f"{image.pk.hex}.12345678.draft")
    half.write_bytes(b"half")
    assert cleaning.Cleaner().clean() == 1
    assert not half.exists()
    assert len(files(*places)) == 2
