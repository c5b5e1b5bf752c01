"""Check whether the folder of the uploaded files can store more."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from django.conf import settings
from django.core.files.storage import FileSystemStorage, default_storage

PATIENCE_SECONDS = 2
_checking = threading.Lock()
"""Held by the thread that checks: a file server that hangs blocks one thread per process, not one per request."""


def state() -> str | None:
    """Return ok, full, read-only or unreachable; None if the storage is not a folder."""
    if not isinstance(default_storage, FileSystemStorage):
        return None
    answers: list[str] = []
    folder = Path(default_storage.location)
    if _checking.acquire(timeout=PATIENCE_SECONDS):
        thread = threading.Thread(target=_check, args=(folder, answers), name="storage", daemon=True)
        thread.start()
        thread.join(PATIENCE_SECONDS)
    return answers[0] if answers else "unreachable"


def _check(folder: Path, answers: list[str]) -> None:
    try:
        answers.append(_state(folder))
    finally:
        _checking.release()


def _state(folder: Path) -> str:
    try:
        free = min(shutil.disk_usage(path).free for path in (folder, settings.DATA_DIR))
        if not os.access(folder, os.W_OK | os.X_OK):
            return "read-only"
    except OSError:
        return "unreachable"
    return "ok" if free >= settings.STORAGE_MARGIN_BYTES else "full"
