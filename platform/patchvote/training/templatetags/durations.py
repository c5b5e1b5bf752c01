"""Template filters and tags for durations and stages of work."""

from __future__ import annotations

from django import template
from django.utils.translation import gettext

from patchvote.training.durations import in_words

register = template.Library()

register.filter("duration", in_words)


@register.simple_tag
def stage(text: str) -> str:
    """Translate the stage that a training process reported; the count behind it is unchanged."""
    words, space, count = text.rpartition(" ")
    return f"{gettext(words)}{space}{count}" if count[:1].isdigit() else gettext(text)
