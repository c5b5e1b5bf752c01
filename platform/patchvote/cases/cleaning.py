"""Remove orphaned files: files of interrupted uploads and of deleted cases, which no row refers to.

A file is written before its row, so a file without a row may still get one. Therefore a file is removed only after it
had no row for `ORPHAN_SECONDS`, measured with the monotonic clock of this process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from django.conf import settings
from django.core.files.storage import default_storage

from patchvote.cases import pixel_cache
from patchvote.cases.models import Image
from patchvote.core.storage import is_draft

logger = logging.getLogger(__name__)

SECONDS_AT_ONCE = 2.0
"""Time after which a call of `Cleaner.clean` stops; the next call continues from there."""

_HEX = 32
_AT_ONCE = 1000
"""Number of file names in one query."""


class Folder(Protocol):
    """A folder that may hold orphans."""

    @property
    def path(self) -> str | Path:
        """The path of the folder."""

    def orphans(self) -> dict[str, object]:
        """Return the names of files without a row, each with a value that changes when the file changes."""

    def remove(self, name: str) -> None:
        """Delete a file."""


@dataclass(frozen=True)
class StoredFolder:
    """A folder of the storage whose file names start with the id of an image: originals and previews."""

    path: str

    def orphans(self) -> dict[str, object]:
        """Return the files whose image is not in the database, and incomplete files."""
        found: dict[str, object] = {}
        everything = default_storage.listdir(self.path)[1]
        for start in range(0, len(everything), _AT_ONCE):
            names = everything[start : start + _AT_ONCE]
            owners = {name: _owner(name) for name in names}
            known = set(Image.objects.filter(pk__in=set(owners.values())).values_list("pk", flat=True))
            found |= {name: None for name, owner in owners.items() if owner not in known or is_draft(name)}
        return found

    def remove(self, name: str) -> None:
        """Delete a file from the storage."""
        default_storage.delete(f"{self.path}/{name}")


@dataclass(frozen=True)
class TemporaryFolder:
    """A folder in which no file stays for long: incoming uploads, or cached pixels."""

    path: Path

    def orphans(self) -> dict[str, object]:
        """Return all files, each with its size and modification time."""
        found: dict[str, object] = {}
        for entry in self.path.iterdir() if self.path.is_dir() else ():
            with suppress(FileNotFoundError):  # it was removed just now
                status = entry.stat()
                found[entry.name] = (status.st_size, status.st_mtime_ns)
        return found

    def remove(self, name: str) -> None:
        """Delete a file."""
        (self.path / name).unlink(missing_ok=True)


class Cleaner:
    """A cleaner that visits all folders in turn, some of them in each call."""

    def __init__(self) -> None:
        """Start at the first folder."""
        self._round: Iterator[Folder] = iter(())
        self._seen: dict[Folder, dict[tuple[str, object], float]] = {}

    def clean(self) -> int:
        """Clean for `SECONDS_AT_ONCE`, or until every folder was visited.

        Returns:
            The number of removed files.
        """
        removed, began, rounds = 0, time.monotonic(), 0
        while time.monotonic() - began < SECONDS_AT_ONCE:
            folder = next(self._round, None)
            if folder is None:
                if rounds:
                    break
                self._round, rounds = _folders(), 1
                continue
            removed += self._clean(folder)
        return removed

    def _clean(self, folder: Folder) -> int:
        now, before = time.monotonic(), self._seen.pop(folder, {})
        seen = {file: before.get(file, now) for file in folder.orphans().items()}
        old = {file for file, since in seen.items() if now - since >= settings.ORPHAN_SECONDS}
        for name, _state in old:
            logger.warning("removed %s from %s: it belongs to no image", name, folder.path)
            folder.remove(name)
        if young := {file: since for file, since in seen.items() if file not in old}:
            self._seen[folder] = young
        return len(old)


def _folders() -> Iterator[Folder]:
    yield TemporaryFolder(Path(settings.FILE_UPLOAD_TEMP_DIR))
    yield TemporaryFolder(pixel_cache.folder())
    for kind in ("originals", "previews"):
        if default_storage.exists(kind):
            for name in sorted(default_storage.listdir(kind)[0]):
                yield StoredFolder(f"{kind}/{name}")


def _owner(name: str) -> UUID | None:
    """Return the image id at the start of a file name; None for any other name."""
    try:
        return UUID(hex=name[:_HEX])
    except ValueError:
        return None
