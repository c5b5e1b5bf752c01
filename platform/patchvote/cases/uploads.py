"""Bounding what people send, while it streams in."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadhandler import FileUploadHandler
from django.utils.translation import gettext as _

_FORM_BYTES = 1024 * 1024
"""Room for the fields and the multipart headers."""


class BoundedUploadHandler(FileUploadHandler):
    """Ends a request that is larger than all images of a case may be, before and while it is read.

    A single image over its own limit is refused later, by name, together with what is wrong with the others.
    """

    def __init__(self, request: Any = None) -> None:
        """Start counting."""
        super().__init__(request)
        self._received = 0

    @property
    def _limit(self) -> int:
        if self.request is None or not self.request.user.is_authenticated:
            return _FORM_BYTES  # nobody sends images without signing in
        return settings.UPLOAD_MAX_IMAGES * settings.UPLOAD_MAX_BYTES + _FORM_BYTES

    def handle_raw_input(  # type: ignore[override]  # the names of what is not used do not matter
        self, _input: Any, _meta: Any, content_length: int, *_: Any, **__: Any
    ) -> None:
        """Refuse by the declared length: nothing has been read yet."""
        self._refuse_over_limit(content_length)

    def receive_data_chunk(self, raw_data: bytes, _start: int) -> bytes:
        """Count, whatever was declared."""
        self._received += len(raw_data)
        self._refuse_over_limit(self._received)
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leave the file to the handlers behind this one."""

    def _refuse_over_limit(self, size: int) -> None:
        if size > self._limit:
            raise RequestDataTooBig(
                _("The images of one case may have %(limit)d MB together. Send fewer, or smaller ones.")
                % {"limit": self._limit // 2**20}
            )
