"""Limits on the size of requests, enforced while Django receives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

_FORM_BYTES = 1024 * 1024
"""Allowance for the form fields and the multipart headers, in bytes."""


@dataclass(frozen=True)
class UploadLimit:
    """The maximum size of a request.

    Attributes:
        max_bytes: Returns the limit in bytes from the current settings.
        sentence: The error message; `%(limit)d` is the limit in MB.
    """

    max_bytes: Callable[[], int]
    sentence: str


IMAGES = UploadLimit(
    lambda: settings.UPLOAD_MAX_IMAGES * settings.UPLOAD_MAX_BYTES,
    gettext_noop("The images of one case may have at most %(limit)d MB in total. Send fewer or smaller images."),
)
NOTHING = UploadLimit(lambda: 0, gettext_noop("Sign in before you send files."))
_LARGER: tuple[tuple[tuple[str, ...], str, UploadLimit], ...] = (
    (
        ("/admin/registry/bundleupload/add/", "/api/v1/models/"),
        "registry.add_bundleupload",
        UploadLimit(lambda: settings.BUNDLE_MAX_BYTES, gettext_noop("A bundle may have at most %(limit)d MB.")),
    ),
    (
        ("/admin/training/dataset/add/", "/api/v1/data-sets/"),
        "training.add_dataset",
        UploadLimit(
            lambda: settings.DATA_SET_MAX_BYTES,
            gettext_noop(
                "The zip of a data set may have at most %(limit)d MB. Create several data sets or use a folder."
            ),
        ),
    ),
)
"""Paths, the permission for them, and the limit for users who have the permission."""


def upload_limit(request: HttpRequest) -> UploadLimit:
    """Return the limit of a request."""
    for paths, permission, limit in _LARGER:
        if request.path in paths and request.user.has_perm(permission):
            return limit
    return IMAGES


class BoundedUploadHandler(FileUploadHandler):
    """An upload handler that aborts a request over its limit, both before and while the request is read.

    A single image over the limit of an image passes: the form refuses it by name, together with other invalid images.
    """

    def __init__(self, request: Any = None) -> None:
        """Start with the limit of an anonymous request."""
        super().__init__(request)
        self._received = 0
        self._limit = NOTHING  # users who are not signed in may send no files

    def handle_raw_input(  # type: ignore[override]  # unused parameters have other names
        self, _input: Any, _meta: Any, content_length: int, *_: Any, **__: Any
    ) -> None:
        """Check the declared length, before the body is read."""
        if self.request is not None and self.request.user.is_authenticated:
            self._limit = upload_limit(self.request)
        self._refuse_over_limit(content_length)

    def receive_data_chunk(self, raw_data: bytes, _start: int) -> bytes:
        """Check the received bytes, because the declared length may be wrong."""
        self._received += len(raw_data)
        self._refuse_over_limit(self._received)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Return nothing: the next handlers store the file."""

    def _refuse_over_limit(self, size: int) -> None:
        limit = self._limit.max_bytes()
        if size > limit + _FORM_BYTES:
            raise RequestDataTooBig(_(self._limit.sentence) % {"limit": limit // 2**20})
