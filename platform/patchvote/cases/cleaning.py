"""Removes files that belong to no row: of uploads that were cut off, and of cases that are gone.

A file is written before its row is, so a file without a row may only be early. Therefore it is removed only after it
was seen without a row for `ORPHAN_SECONDS`, by this process's own clock, which no step of the machine's clock moves.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from django.conf import settings
from django.core.files.storage import default_storage

from patchvote.cases import pixels
from patchvote.cases.models import Image

logger = logging.getLogger(__name__)

SECONDS_AT_ONCE = 2.0
"""After these a cleaning stops; the next one goes on from there."""

_HEX = 32


class Folder(Protocol):
    """A folder that may hold orphans."""

    @property
    def path(self) -> str | Path:
        """Where it is."""

    def orphans(self) -> list[str]:
        """The names of files that belong to no row, as things stand."""

    def remove(self, name: str) -> None:
        """Delete one of them."""


@dataclass(frozen=True)
class StoredFolder:
    """A folder of the storage, whose files bear the ids of their images: originals and previews."""

    path: str

    def orphans(self) -> list[str]:
        """Those whose image is not in the database."""
        owners = {name: _owner(name) for name in default_storage.listdir(self.path)[1]}
        known = set(Image.objects.filter(pk__in=set(owners.values())).values_list("pk", flat=True))
        return [name for name, owner in owners.items() if owner not in known]

    def remove(self, name: str) -> None:
        """Delete it from the storage."""
        default_storage.delete(f"{self.path}/{name}")


@dataclass(frozen=True)
class PassingFolder:
    """A folder in which no file stays for long: uploads that arrive, pixels on their way to a worker."""

    path: Path

    def orphans(self) -> list[str]:
        """All of them."""
        return [entry.name for entry in self.path.iterdir() if entry.is_file()] if self.path.is_dir() else []

    def remove(self, name: str) -> None:
        """Delete it."""
        (self.path / name).unlink(missing_ok=True)


class Cleaner:
    """Goes round all folders, some of them each time."""

    def __init__(self) -> None:
        """Start with the first folder."""
        self._round: Iterator[Folder] = iter(())
        self._seen: dict[Folder, dict[str, float]] = {}

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
        seen = {name: before.get(name, now) for name in folder.orphans()}
        old = [name for name, since in seen.items() if now - since >= settings.ORPHAN_SECONDS]
        for name in old:
            logger.warning("%s of %s belongs to no image: removed", name, folder.path)
            folder.remove(name)
        if young := {name: since for name, since in seen.items() if name not in old}:
            self._seen[folder] = young
        return len(old)


def _folders() -> Iterator[Folder]:
    yield PassingFolder(Path(settings.FILE_UPLOAD_TEMP_DIR))
    yield PassingFolder(pixels.folder())
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
