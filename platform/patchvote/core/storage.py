"""A file storage that writes files atomically and flushes them to the disk."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage

_DRAFT = ".draft"


def is_draft(name: str) -> bool:
    """Return whether a file is the incomplete rest of a process that died while writing."""
    return name.endswith(_DRAFT)


class DurableFileSystemStorage(FileSystemStorage):
    """A file system storage that writes each file under a temporary name, flushes it and then renames it.

    No reader sees an incomplete file, and after a power failure no database row refers to a file that was lost.
    """

    def _save(self, name: str, content: Any) -> str:
        draft = f"{name}.{uuid.uuid4().hex[:8]}{_DRAFT}"
        try:
            super()._save(draft, content)  # type: ignore[misc]  # the method that Django documents for this
            _flush(Path(self.path(draft)))
            Path(self.path(draft)).replace(self.path(name))
        except BaseException:
            with suppress(OSError):
                Path(self.path(draft)).unlink()
            raise
        folder = Path(self.path(name)).parent
        for place in (folder, folder.parent):  # the folder itself may be new
            _flush(place)
        return name


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
