"""A saved file is on the disk."""

import os
import stat
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from patchvote.storage import DurableFileSystemStorage


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
    assert flushed == [(False, 5), (True, 0)]
