"""Model versions as files."""

from __future__ import annotations

import tempfile

from django.conf import settings
from django.http import FileResponse

from classifier import bundle
from patchvote.accounts import audit
from patchvote.registry.models import ModelVersion


def packed(version: ModelVersion) -> FileResponse:
    """Its bundle as one file; the same version is always the same file. The audit log records who downloaded it.

    Raises:
        BundleError: If its files are gone or were changed.
    """
    whole = version.bundle()
    file = tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115 (the response closes it)
    try:
        bundle.pack(whole, file)
        file.seek(0)
        audit.record(None, "downloaded", version)
    except BaseException:
        file.close()
        raise
    return FileResponse(file, as_attachment=True, filename=version.download_name, content_type="application/zip")
