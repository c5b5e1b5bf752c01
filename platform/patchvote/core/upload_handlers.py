"""Bounding what people send, while it streams in."""

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
"""Room for the fields and the multipart headers."""


@dataclass(frozen=True)
class Bound:
    """How much a request may send.

    Attributes:
        max_bytes: By the settings of the moment.
        sentence: For who sends more; `%(limit)d` is the limit in MB.
    """

    max_bytes: Callable[[], int]
    sentence: str


IMAGES = Bound(
    lambda: settings.UPLOAD_MAX_IMAGES * settings.UPLOAD_MAX_BYTES,
    gettext_noop("The images of one case may have %(limit)d MB together. Send fewer, or smaller ones."),
)
NOTHING = Bound(lambda: 0, gettext_noop("Sign in before you send files."))
_LARGER: tuple[tuple[tuple[str, ...], str, Bound], ...] = (
    (
        ("/admin/registry/bundleupload/add/", "/api/v1/models/"),
        "registry.add_bundleupload",
        Bound(lambda: settings.BUNDLE_MAX_BYTES, gettext_noop("A bundle may have %(limit)d MB.")),
    ),
    (
        ("/admin/training/dataset/add/", "/api/v1/data-sets/"),
        "training.add_dataset",
        Bound(
            lambda: settings.DATA_SET_MAX_BYTES,
            gettext_noop("The zip of a data set may have %(limit)d MB. Make several data sets, or use a folder."),
        ),
    ),
)
"""Paths to which people with a permission may send more than images."""


def bound_of(request: HttpRequest) -> Bound:
    """How much this request may send."""
    for paths, permission, bound in _LARGER:
        if request.path in paths and request.user.has_perm(permission):
            return bound
    return IMAGES


class BoundedUploadHandler(FileUploadHandler):
    """Ends a request that is larger than what it may send, before and while it is read.

    A single image over its own limit is refused later, by name, together with what is wrong with the others.
    """

    def __init__(self, request: Any = None) -> None:
        """Start counting."""
        super().__init__(request)
        self._received = 0
        self._bound = NOTHING  # nobody sends files without signing in

    def handle_raw_input(  # type: ignore[override]  # the names of what is not used do not matter
        self, _input: Any, _meta: Any, content_length: int, *_: Any, **__: Any
    ) -> None:
        """Refuse by the declared length: nothing has been read yet."""
        if self.request is not None and self.request.user.is_authenticated:
            self._bound = bound_of(self.request)
        self._refuse_over_limit(content_length)

    def receive_data_chunk(self, raw_data: bytes, _start: int) -> bytes:
        """Count, whatever was declared."""
        self._received += len(raw_data)
        self._refuse_over_limit(self._received)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leave the file to the handlers behind this one."""

    def _refuse_over_limit(self, size: int) -> None:
        limit = self._bound.max_bytes()
        if size > limit + _FORM_BYTES:
            raise RequestDataTooBig(_(self._bound.sentence) % {"limit": limit // 2**20})
