"""Answers to those who ask again and again whether a case has changed: from the case's own row, without its images."""

from __future__ import annotations

import math
from typing import Any

from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponseNotModified
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from django.utils.translation import get_language

from patchvote.accounts.models import User
from patchvote.cases.models import Case
from patchvote.celery import broker_answers
from patchvote.jobs.models import workers_alive

FIRST_POLL_SECONDS = 1.0
SLOWEST_POLL_SECONDS = 15.0
POLL_GROWTH = 1.4


def visible(user: User, pk: Any) -> Case:
    """A case as its own row knows it: state and revision.

    Raises:
        Http404: If there is no such case, or it is not this person's to see.
    """
    try:
        return Case.objects.visible_to(user).only("state", "revision").get(pk=pk)
    except (Case.DoesNotExist, ValidationError):  # unknown, or no id at all
        raise Http404 from None


def etag(case: Case, *also: object) -> str:
    """Of what people see of a case.

    Args:
        case: With its revision.
        also: What else the answer depends on, besides the language.
    """
    return quote_etag("-".join(str(part) for part in (case.revision, get_language(), *also)))


def unchanged(request: HttpRequest, etag: str) -> HttpResponseNotModified | None:
    """304 for who has seen just this; None for who has not."""
    answer = get_conditional_response(request, etag=etag)
    return answer if isinstance(answer, HttpResponseNotModified) else None


def delayed(case: Case) -> bool:
    """True if the case waits for nothing that would come by itself: no worker is there, or none can be told."""
    return not case.ended and not (workers_alive()["inference"] and broker_answers())


def next_delay(previous: str) -> float:
    """Seconds until a page asks again: longer each time, up to a bound.

    Args:
        previous: The delay before this time, as the page sent it; empty at the first.

    Raises:
        Http404: If it is no number.
    """
    if not previous:
        return FIRST_POLL_SECONDS
    try:
        seconds = float(previous)
    except ValueError:
        raise Http404 from None
    if not math.isfinite(seconds):
        raise Http404
    return round(min(max(seconds, FIRST_POLL_SECONDS) * POLL_GROWTH, SLOWEST_POLL_SECONDS), 1)
