"""Helpers for files of tests."""

from __future__ import annotations

from pathlib import Path


def files_in(folder: Path) -> list[Path]:
    """Return all files below a folder, which need not exist."""
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []
