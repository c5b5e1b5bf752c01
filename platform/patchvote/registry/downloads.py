"""Downloads of bundles."""

from __future__ import annotations

import tempfile

from django.conf import settings
from django.http import FileResponse

from classifier import bundle
from patchvote.accounts import audit
from patchvote.registry.models import ModelVersion


def bundle_response(version: ModelVersion) -> FileResponse:
    """Return a version's bundle as a zip, whose bytes are always the same; record the download in the audit log.

    Raises:
        BundleError: If the bundle's files are missing or were changed.
    """
    loaded = version.bundle()
    file = tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115 (the response closes it)
    try:
        bundle.pack(loaded, file)
        file.seek(0)
        audit.record(None, "downloaded", version)
    except BaseException:
        file.close()
        raise
    return FileResponse(file, as_attachment=True, filename=version.download_name, content_type="application/zip")
