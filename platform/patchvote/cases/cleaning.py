"""Removes files that belong to no row: of uploads that were cut off, and of cases that are gone.

A file is written before its row is, so a file without a row may only be early. Therefore it is removed only after it
was seen without a row for `ORPHAN_SECONDS`, by this process's own clock, which no step of the machine's clock moves.
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
"""After these a cleaning stops; the next one goes on from there."""

_HEX = 32
_AT_ONCE = 1000
"""Names in one query."""


class Folder(Protocol):
    """A folder that may hold orphans."""

    @property
    def path(self) -> str | Path:
        """Where it is."""

    def orphans(self) -> dict[str, object]:
        """The names of files that belong to no row, as things stand; with each what tells that it has changed."""

    def remove(self, name: str) -> None:
        """Delete one of them."""


@dataclass(frozen=True)
class StoredFolder:
    """A folder of the storage, whose files bear the ids of their images: originals and previews."""

    path: str

    def orphans(self) -> dict[str, object]:
        """Those whose image is not in the database, and what was not written to its end."""
        found: dict[str, object] = {}
        everything = default_storage.listdir(self.path)[1]
        for start in range(0, len(everything), _AT_ONCE):
            names = everything[start : start + _AT_ONCE]
            owners = {name: _owner(name) for name in names}
            known = set(Image.objects.filter(pk__in=set(owners.values())).values_list("pk", flat=True))
            found |= {name: None for name, owner in owners.items() if owner not in known or is_draft(name)}
        return found

    def remove(self, name: str) -> None:
        """Delete it from the storage."""
        default_storage.delete(f"{self.path}/{name}")


@dataclass(frozen=True)
class PassingFolder:
    """A folder in which no file stays for long: uploads that arrive, pixels on their way to a worker."""

    path: Path

    def orphans(self) -> dict[str, object]:
        """All of them, as long as they do not grow."""
        found: dict[str, object] = {}
        for entry in self.path.iterdir() if self.path.is_dir() else ():
            with suppress(FileNotFoundError):  # it has just passed
                status = entry.stat()
                found[entry.name] = (status.st_size, status.st_mtime_ns)
        return found

    def remove(self, name: str) -> None:
        """Delete it."""
        (self.path / name).unlink(missing_ok=True)


class Cleaner:
    """Goes round all folders, some of them each time."""

    def __init__(self) -> None:
        """Start with the first folder."""
        self._round: Iterator[Folder] = iter(())
        self._seen: dict[Folder, dict[tuple[str, object], float]] = {}

    def clean(self) -> int:
        """Go on for a moment, or until every folder was looked at.

        Returns:
            How many files were removed.
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
            logger.warning("%s of %s belongs to no image: removed", name, folder.path)
            folder.remove(name)
        if young := {file: since for file, since in seen.items() if file not in old}:
            self._seen[folder] = young
        return len(old)


def _folders() -> Iterator[Folder]:
    yield PassingFolder(Path(settings.FILE_UPLOAD_TEMP_DIR))
    yield PassingFolder(pixel_cache.folder())
    for kind in ("originals", "previews"):
        if default_storage.exists(kind):
            for name in sorted(default_storage.listdir(kind)[0]):
                yield StoredFolder(f"{kind}/{name}")


def _owner(name: str) -> UUID | None:
    """The image of which a file bears the id; None for a name that is none of ours."""
    try:
        return UUID(hex=name[:_HEX])
    except ValueError:
        return None
