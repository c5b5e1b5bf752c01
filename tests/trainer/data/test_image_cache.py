"""What was decoded is remembered by content, and never wrongly."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trainer.data import image_cache
from trainer.data.datasets import load
from trainer.data.image_cache import PixelCache, decode_pixels
from trainer.data.records import DataSetError, LabelledImage
from trainer.synthetic.dataset import sample


@pytest.fixture
def image(tmp_path: Path) -> LabelledImage:
    sample("benign", 1, (240, 230)).save(tmp_path / "a.png")
    return LabelledImage(tmp_path / "a.png", "benign", "p1")


def refuse(*_: object) -> None:
    raise AssertionError("decoded again")


def test_a_second_run_decodes_nothing(image: LabelledImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = PixelCache(tmp_path / "cache")
    checked = cache.check(image)
    read = cache.read(checked)
    assert (checked.width, checked.height) == (240, 230)
    monkeypatch.setattr(image_cache, "decode", refuse)
    again = PixelCache(tmp_path / "cache")
    shutil.copy(image.path, tmp_path / "other name.png")
    assert again.check(replace(image, path=tmp_path / "other name.png")).sha256 == checked.sha256
    np.testing.assert_array_equal(again.read(checked), read)


def test_a_changed_file_is_looked_at_anew(image: LabelledImage, tmp_path: Path) -> None:
    cache = PixelCache(tmp_path / "cache")
    before = cache.check(image)
    sample("benign", 2, (240, 230)).save(image.path)
    assert cache.check(image).sha256 != before.sha256
    with pytest.raises(DataSetError, match="has changed"):
        cache.read(before)


def test_a_damaged_entry_is_made_again(image: LabelledImage, tmp_path: Path) -> None:
    cache = PixelCache(tmp_path / "cache")
    checked = cache.check(image)
    cache.read(checked)
    (kept,) = (tmp_path / "cache" / "pixels").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    np.testing.assert_array_equal(cache.read(checked), decode_pixels(checked))
    (known,) = (tmp_path / "cache" / "checked").iterdir()
    known.write_text("half an ent")
    assert cache.check(image) == checked


def test_without_a_folder_nothing_is_written(image: LabelledImage, tmp_path: Path) -> None:
    checked = PixelCache(None).check(image)
    np.testing.assert_array_equal(PixelCache(None).read(checked), decode_pixels(checked))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_data_set_is_checked_through_the_cache(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = PixelCache(tmp_path / "cache")
    first = load(small, cache=cache)
    monkeypatch.setattr(image_cache, "decode", refuse)
    assert load(small, cache=cache) == first
