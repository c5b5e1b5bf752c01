"""Pixels are decoded once, and what is kept of them is never trusted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.storage import default_storage

from patchvote.cases import pixel_cache
from testing.images import noise


@pytest.fixture(autouse=True)
def _own_cache(settings: Any, tmp_path: Path) -> None:
    settings.CACHE_DIR = tmp_path / "cache"


@pytest.fixture
def image(submit: Any, ana: Any) -> Any:
    return submit(ana).images.get()


def kept() -> list[Path]:
    return list(pixel_cache.folder().iterdir())


def test_the_worker_takes_what_the_web_server_decoded(image: Any) -> None:
    assert len(kept()) == 1
    default_storage.delete(image.file.name)
    assert (pixel_cache.pop(image) == noise()).all()
    assert kept() == []
    with pytest.raises(FileNotFoundError):
        pixel_cache.pop(image)


@pytest.mark.parametrize("content", [b"", b"no array", b"other"])
def test_what_is_damaged_is_decoded_from_the_file(image: Any, content: bytes) -> None:
    [path] = kept()
    if content == b"other":
        with path.open("wb") as file:
            np.save(file, noise(seed=7))
    else:
        path.write_bytes(content)
    assert (pixel_cache.pop(image) == noise()).all()


def test_what_is_refused_leaves_nothing(submit: Any, ana: Any, upload: Any) -> None:
    from patchvote.cases.submissions import SubmissionError

    with pytest.raises(SubmissionError):
        submit(ana, upload(), upload(b"no image"))
    assert kept() == []


def test_the_space_is_bounded(submit: Any, ana: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_cache, "MAX_FILES", 2)
    for _ in range(3):
        submit(ana)
    assert len(kept()) == 2
    monkeypatch.setattr(pixel_cache, "MAX_PIXELS", 1000)
    monkeypatch.setattr(pixel_cache, "MAX_FILES", 9)
    submit(ana)
    assert len(kept()) == 2


def test_a_folder_that_takes_nothing_refuses_no_upload(submit: Any, ana: Any, settings: Any, tmp_path: Path) -> None:
    settings.CACHE_DIR = tmp_path / "file"
    settings.CACHE_DIR.write_text("no folder")
    image = submit(ana).images.get()
    assert (pixel_cache.pop(image) == noise()).all()
