"""What all REST views share: the shape of errors, and rates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import Http404
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions, permissions, status, views
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle


class Conflict(exceptions.APIException):
    """409: what was asked does not fit the state of things."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class TooLarge(exceptions.APIException):
    """413."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_many_bytes"


class ReadThrottle(UserRateThrottle):
    """The rate for reading."""

    scope = "read"


class HasPermission(permissions.BasePermission):
    """Whoever has the permission that the view names in `required`, by action; the rest is for all who signed in."""

    message = _("You may not do this: it takes the role admin.")
    code = "permission_denied"

    def has_permission(self, request: Request, view: views.APIView) -> bool:
        """Ask for it."""
        needed = getattr(view, "required", {}).get(getattr(view, "action", None))
        return bool(request.user.is_authenticated and (needed is None or request.user.has_perm(needed)))


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's handler, with a stable `code` beside every sentence.

    The answer always has `detail` (a sentence) and `code`. Where fields are wrong, each of them is a key as well, with
    a list of `{"message", "code"}` and, for files, the `filename`.
    """
    if isinstance(error, RequestDataTooBig):
        error = TooLarge(str(error))
    elif isinstance(error, RecursionError):  # JSON that is nested without end
        error = exceptions.ParseError()
    response = views.exception_handler(error, context)
    if response is None:
        return None
    if isinstance(error, Http404):
        error = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        error = exceptions.PermissionDenied()
    if not isinstance(error, exceptions.APIException):
        return response
    details: Any = error.get_full_details()
    if isinstance(details, list):
        details = {"non_field_errors": details}
    if "code" in details and "message" in details:
        response.data = {"detail": details["message"], "code": details["code"]}
        return response
    fields = {field: list(_leaves(errors)) for field, errors in details.items()}
    first = next(iter(fields.values()))[0]
    response.data = {"detail": first["message"], "code": first["code"]} | fields
    return response


def _leaves(details: Any) -> Iterator[dict[str, Any]]:
    """Every message with its code, however deep DRF nests them."""
    if isinstance(details, dict) and "message" in details and "code" in details:
        yield details
    else:
        for inner in details.values() if isinstance(details, dict) else details:
            yield from _leaves(inner)
