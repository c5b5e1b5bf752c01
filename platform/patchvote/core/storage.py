"""Files that are there whole or not at all, and on the disk, not merely on their way to it, once they are saved."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage

_DRAFT = ".draft"


def is_draft(name: str) -> bool:
    """Whether a file was being written when its process died."""
    return name.endswith(_DRAFT)


class DurableFileSystemStorage(FileSystemStorage):
    """Django's, with each file written under another name, flushed, and then put in its place.

    Nobody reads half a file, and a database's row does not outlive a power cut that its file did not.
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
