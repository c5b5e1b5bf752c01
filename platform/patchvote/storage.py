"""Files that are on the disk, not merely on their way to it, when saving them has ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage


class DurableFileSystemStorage(FileSystemStorage):
    """Django's, with each file flushed: a database's row must not outlive a power cut that its file did not."""

    def _save(self, name: str, content: Any) -> str:
        saved: str = super()._save(name, content)  # type: ignore[misc]  # the method that Django documents for this
        path = Path(self.path(saved))
        _flush(path)
        _flush(path.parent)
        return saved


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
