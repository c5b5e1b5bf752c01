"""Error pages that need more than Django's own handlers."""

from __future__ import annotations

import errno
import sys
from dataclasses import dataclass

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views import defaults

RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True)
class Trouble:
    """What is wrong with the server itself, and passes."""

    status: int
    code: str
    title: str
    sentence: str


FULL = Trouble(
    507,
    "storage_full",
    gettext_noop("The server's disk is full"),
    gettext_noop("Nothing of what you sent was stored. Keep it, tell an administrator, and send it again later."),
)
BUSY = Trouble(
    503,
    "busy",
    gettext_noop("The server is busy"),
    gettext_noop("Its database does not answer just now. Try again in a moment: nothing that was accepted is lost."),
)
_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
_DISK_FULL = "53100"
"""PostgreSQL's code."""


def trouble(error: BaseException | None) -> Trouble | None:
    """What an unforeseen error says of the server's state; None if it is a defect."""
    if isinstance(error, OSError) and error.errno in _FULL_ERRORS:
        return FULL
    defect = "no such" in str(error)  # SQLite's words for a table or column that is missing
    if isinstance(error, OperationalError | InterfaceError) and not defect:
        full = getattr(error.__cause__, "sqlstate", "") == _DISK_FULL or "disk is full" in str(error)
        return FULL if full else BUSY
    return None


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: JSON under /api/, a page elsewhere."""
    if request.path.startswith("/api/"):
        return JsonResponse({"detail": _("Not found."), "code": "not_found"}, status=404)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """500, 503 or 507, by the error that is being handled: JSON under /api/, a page elsewhere."""
    passing = trouble(sys.exc_info()[1])
    if passing:
        return _unavailable(request, passing)
    if request.path.startswith("/api/"):
        sentence = _("Something went wrong on the server. It was logged; nothing that was accepted is lost.")
        return JsonResponse({"detail": sentence, "code": "error"}, status=500)
    return defaults.server_error(request)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400, or 413 for a request that is too large: JSON under /api/, a page elsewhere."""
    too_large = isinstance(exception, RequestDataTooBig)
    status = 413 if too_large else 400
    sentence = str(exception) if too_large else ""
    if request.path.startswith("/api/"):
        code = "too_many_bytes" if too_large else "bad_request"
        return JsonResponse({"detail": sentence or _("This request cannot be read"), "code": code}, status=status)
    return render(request, "400.html", {"sentence": sentence}, status=status)


def _unavailable(request: HttpRequest, passing: Trouble) -> HttpResponse:
    title, sentence = _(passing.title), _(passing.sentence)
    response: HttpResponse
    if request.path.startswith("/api/"):
        response = JsonResponse({"detail": f"{title}. {sentence}", "code": passing.code}, status=passing.status)
    else:
        context = {"status": passing.status, "title": title, "sentence": sentence}
        response = HttpResponse(render_to_string("unavailable.html", context), status=passing.status)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response
