"""NUL, which PostgreSQL takes in no text. Forms and serializers refuse it; here is what they do not see."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse


class NoNulMiddleware:
    """Refuses addresses and cookies with a NUL: views look for what an address names, Django for a cookie's session."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep what answers."""
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer."""
        if any("\0" in text for text in (request.path_info, *request.COOKIES.values())):
            raise BadRequest
        return self._get_response(request)
