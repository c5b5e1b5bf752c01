"""Base classes of the REST views: errors with stable codes, permissions and rates."""

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
    """An error 409: the request does not fit the current state of the object."""

    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class TooLarge(exceptions.APIException):
    """An error 413: the request is too large."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_code = "too_many_bytes"


class ReadThrottle(UserRateThrottle):
    """The rate limit for reading."""

    scope = "read"


class HasPermission(permissions.BasePermission):
    """A permission check: users need the permission that the view's `required` names for the action.

    Actions that `required` does not name are open to all users who are signed in.
    """

    message = _("You may not do this: it requires the role admin.")
    code = "permission_denied"

    def has_permission(self, request: Request, view: views.APIView) -> bool:
        """Return whether the user may perform the action."""
        needed = getattr(view, "required", {}).get(getattr(view, "action", None))
        return bool(request.user.is_authenticated and (needed is None or request.user.has_perm(needed)))


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Return DRF's response to an error, with a stable `code` for each message.

    The response always has `detail` (a sentence) and `code`. Each invalid field is a key as well, with a list of
    `{"message", "code"}` and, for files, the `filename`.
    """
    if isinstance(error, RequestDataTooBig):
        error = TooLarge(str(error))
    elif isinstance(error, RecursionError):  # deeply nested JSON
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
    """Yield each message with its code; DRF nests them to any depth."""
    if isinstance(details, dict) and "message" in details and "code" in details:
        yield details
    else:
        for inner in details.values() if isinstance(details, dict) else details:
            yield from _leaves(inner)
