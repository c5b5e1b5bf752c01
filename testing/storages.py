"""File storages that fail as disks do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage


class FullDiskStorage(FileSystemStorage):
    """A storage with room for one file. It cuts the next one off and leaves the beginning behind."""

    def _save(self, name: str, content: Any) -> str:
        if not any(path.is_file() for path in Path(self.location).rglob("*")):
            return str(super()._save(name, content))  # type: ignore[misc]  # the method that Django documents for this
        part = Path(self.path(name))
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"the first bytes")
        raise OSError(28, "No space left on device")
