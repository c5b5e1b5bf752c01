"""Folders of the source tree."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED_IMAGES = ROOT.parent / "shared" / "data" / "breakhis"
"""The real BreakHis images; they are not part of the repository."""
