"""Polling of a case: ETags and delays, computed from the case's own row without reading its images."""

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


def get_case(user: User, pk: Any) -> Case:
    """Return a case with its state and revision only.

    Raises:
        Http404: If the case does not exist or the user may not see it.
    """
    try:
        return Case.objects.visible_to(user).only("state", "revision").get(pk=pk)
    except (Case.DoesNotExist, ValidationError):  # unknown, or not a UUID
        raise Http404 from None


def etag(case: Case, *also: object) -> str:
    """Return the ETag of what users see of a case.

    Args:
        case: The case, with its revision.
        also: Other values that the response depends on; the language is always included.
    """
    return quote_etag("-".join(str(part) for part in (case.revision, get_language(), *also)))


def not_modified(request: HttpRequest, etag: str) -> HttpResponseNotModified | None:
    """Return a 304 response if the client has the version with this ETag, else None."""
    answer = get_conditional_response(request, etag=etag)
    return answer if isinstance(answer, HttpResponseNotModified) else None


def is_delayed(case: Case) -> bool:
    """Return whether the case is waiting although no worker is alive or the broker does not answer."""
    return not case.ended and not (workers_alive()["inference"] and broker_answers())


def next_delay(previous: str) -> float:
    """Return the seconds until a page polls again: the delay grows with each poll, up to `SLOWEST_POLL_SECONDS`.

    Args:
        previous: The previous delay as the page sent it; empty for the first poll.

    Raises:
        Http404: If `previous` is not a number.
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
