"""Middleware of all requests."""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse


class NoNulMiddleware:
    """A middleware that refuses paths and cookies with a NUL character.

    PostgreSQL accepts no NUL in text. Forms and serializers refuse it, but views query the database with parts of the
    path, and Django with the session cookie.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Store the next handler."""
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the response of the next handler.

        Raises:
            BadRequest: If the request has a NUL.
        """
        if any("\0" in text for text in (request.path_info, *request.COOKIES.values())):
            raise BadRequest
        return self._get_response(request)
