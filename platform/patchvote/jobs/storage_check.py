"""Whether files can be kept: asked of the folder that holds them."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from django.conf import settings
from django.core.files.storage import FileSystemStorage, default_storage

PATIENCE_SECONDS = 2
_asking = threading.Lock()
"""Held by the thread that asks: a file server that hangs keeps one thread of a process, not one for each question."""


def state() -> str | None:
    """One of ok, full, read-only, unreachable; None where files are not kept in a folder."""
    if not isinstance(default_storage, FileSystemStorage):
        return None
    answers: list[str] = []
    folder = Path(default_storage.location)
    if _asking.acquire(timeout=PATIENCE_SECONDS):
        thread = threading.Thread(target=_ask, args=(folder, answers), name="storage", daemon=True)
        thread.start()
        thread.join(PATIENCE_SECONDS)
    return answers[0] if answers else "unreachable"


def _ask(folder: Path, answers: list[str]) -> None:
    try:
        answers.append(_state(folder))
    finally:
        _asking.release()


def _state(folder: Path) -> str:
    try:
        free = min(shutil.disk_usage(path).free for path in (folder, settings.DATA_DIR))
        if not os.access(folder, os.W_OK | os.X_OK):
            return "read-only"
    except OSError:
        return "unreachable"
    return "ok" if free >= settings.STORAGE_MARGIN_BYTES else "full"
