"""Gunicorn's configuration (`--config python:patchvote.config.gunicorn_conf`): logging and memory."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from patchvote.config.settings import LOGGING

logconfig_dict = LOGGING

_ARENA_MAX = -8
"""The parameter `M_ARENA_MAX` of glibc's mallopt."""

# All threads decode images. With one arena per thread, glibc would retain the peak memory of each thread.
with suppress(OSError, AttributeError):
    ctypes.CDLL("libc.so.6").mallopt(_ARENA_MAX, 1)
