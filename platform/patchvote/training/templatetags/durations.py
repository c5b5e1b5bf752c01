"""Durations and stages of work in templates."""

from __future__ import annotations

from django import template
from django.utils.translation import gettext

from patchvote.training.durations import in_words

register = template.Library()

register.filter("duration", in_words)


@register.simple_tag
def stage(text: str) -> str:
    """A stage as the training process calls it, in the reader's language; the count behind it stays as it is."""
    words, space, count = text.rpartition(" ")
    return f"{gettext(words)}{space}{count}" if count[:1].isdigit() else gettext(text)
