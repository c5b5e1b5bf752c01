"""Views for errors: JSON for the API, pages elsewhere, and a response of its own for a full disk or a busy database."""

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
class Outage:
    """A temporary failure of the server itself.

    Attributes:
        status: The HTTP status of the response.
        code: The error code in the API.
        title: The title of the error page.
        sentence: What users should do.
    """

    status: int
    code: str
    title: str
    sentence: str


FULL = Outage(
    507,
    "storage_full",
    gettext_noop("The server's disk is full"),
    gettext_noop("None of the data that you sent was stored. Keep it, tell an administrator, and send it again later."),
)
BUSY = Outage(
    503,
    "busy",
    gettext_noop("The server is busy"),
    gettext_noop("Its database does not respond at the moment. Try again soon: no accepted data is lost."),
)
_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
_DISK_FULL = "53100"
"""PostgreSQL's error code `disk_full`."""


def outage(error: BaseException | None) -> Outage | None:
    """Return the outage that an unexpected error indicates; None if the error is a defect of the program."""
    if isinstance(error, OSError) and error.errno in _FULL_ERRORS:
        return FULL
    defect = "no such" in str(error)  # SQLite's message for a missing table or column
    if isinstance(error, OperationalError | InterfaceError) and not defect:
        full = getattr(error.__cause__, "sqlstate", "") == _DISK_FULL or "disk is full" in str(error)
        return FULL if full else BUSY
    return None


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return a response 404: JSON under /api/, a page elsewhere."""
    if request.path.startswith("/api/"):
        return JsonResponse({"detail": _("Not found."), "code": "not_found"}, status=404)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Return a response 500, 503 or 507, depending on the current exception: JSON under /api/, a page elsewhere."""
    failure = outage(sys.exc_info()[1])
    if failure:
        return _unavailable(request, failure)
    if request.path.startswith("/api/"):
        sentence = _("Something went wrong on the server. The error was logged; no accepted data is lost.")
        return JsonResponse({"detail": sentence, "code": "error"}, status=500)
    return defaults.server_error(request)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return a response 400, or 413 if the request is too large: JSON under /api/, a page elsewhere."""
    too_large = isinstance(exception, RequestDataTooBig)
    status = 413 if too_large else 400
    sentence = str(exception) if too_large else ""
    if request.path.startswith("/api/"):
        code = "too_many_bytes" if too_large else "bad_request"
        return JsonResponse({"detail": sentence or _("This request cannot be read"), "code": code}, status=status)
    return render(request, "400.html", {"sentence": sentence}, status=status)


def _unavailable(request: HttpRequest, failure: Outage) -> HttpResponse:
    title, sentence = _(failure.title), _(failure.sentence)
    response: HttpResponse
    if request.path.startswith("/api/"):
        response = JsonResponse({"detail": f"{title}. {sentence}", "code": failure.code}, status=failure.status)
    else:
        context = {"status": failure.status, "title": title, "sentence": sentence}
        response = HttpResponse(render_to_string("unavailable.html", context), status=failure.status)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response
