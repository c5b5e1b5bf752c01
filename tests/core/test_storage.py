"""A saved file is on the disk."""

import os
import stat
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from patchvote.core.storage import DurableFileSystemStorage


def test_the_file_and_its_place_are_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[tuple[bool, int]] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        status = os.fstat(descriptor)
        flushed.append((stat.S_ISDIR(status.st_mode), status.st_size if stat.S_ISREG(status.st_mode) else 0))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    name = DurableFileSystemStorage(tmp_path).save("originals/ab/x", ContentFile(b"12345"))
    assert (tmp_path / name).read_bytes() == b"12345"
    assert flushed == [(False, 5), (True, 0), (True, 0)]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        DurableFileSystemStorage(tmp_path).save("originals/ab/x", ContentFile(b"12345"))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
