"""Durations as people say them."""

from __future__ import annotations

from django.utils.translation import ngettext

_MINUTE, _HOUR = 60, 3600


def in_words(seconds: float | None) -> str:
    """Rounded to what matters: seconds below a minute, minutes below two hours, then hours. "" for None."""
    if seconds is None:
        return ""
    if seconds < _MINUTE:
        count = max(1, round(seconds))
        return ngettext("%(count)d second", "%(count)d seconds", count) % {"count": count}
    if seconds < 2 * _HOUR:
        count = round(seconds / _MINUTE)
        return ngettext("%(count)d minute", "%(count)d minutes", count) % {"count": count}
    count = round(seconds / _HOUR)
    return ngettext("%(count)d hour", "%(count)d hours", count) % {"count": count}
