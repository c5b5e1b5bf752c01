"""Gunicorn's configuration (`--config python:patchvote.config.gunicorn_conf`): its own lines look like all others."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from patchvote.config.settings import LOGGING

logconfig_dict = LOGGING

_ARENA_MAX = -8
"""glibc's name for mallopt's parameter."""

# Each thread decodes images, now this one, now that: in arenas of their own glibc would keep what each of them needed
# at the most.
with suppress(OSError, AttributeError):
    ctypes.CDLL("libc.so.6").mallopt(_ARENA_MAX, 1)
