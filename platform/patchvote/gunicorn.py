"""Gunicorn's configuration (`--config python:patchvote.gunicorn`): its own lines look like all others."""

from __future__ import annotations

from patchvote.settings import LOGGING

logconfig_dict = LOGGING
