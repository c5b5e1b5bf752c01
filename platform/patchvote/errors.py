"""Error pages that need more than Django's own handlers."""

from __future__ import annotations

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views import defaults


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: JSON under /api/, a page elsewhere."""
    if request.path.startswith("/api/"):
        return JsonResponse({"detail": _("Not found."), "code": "not_found"}, status=404)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """500: JSON under /api/, a page elsewhere."""
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
