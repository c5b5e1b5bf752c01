"""Durations in words, in the user's language."""

from __future__ import annotations

from datetime import timedelta

from django.utils.translation import get_language
from humanize import i18n, precisedelta

_MINUTE, _HOUR = 60, 3600


def in_words(seconds: float | None) -> str:
    """Return a rounded duration in words, such as “1 day and 6 hours”; an empty text for None.

    Durations are rounded to seconds below a minute, to minutes below two hours, and to hours above.
    """
    if seconds is None:
        return ""
    unit = 1 if seconds < _MINUTE else _MINUTE if seconds < 2 * _HOUR else _HOUR
    rounded = timedelta(seconds=max(1, round(seconds / unit)) * unit)
    i18n.activate(get_language())  # for the current thread
    try:
        return precisedelta(rounded, format="%d")
    finally:
        i18n.deactivate()
