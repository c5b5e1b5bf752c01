"""Uploaded bundles: store them for a trial by a child process, and register the ones that pass."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.db import transaction
from django.utils.translation import gettext

from classifier import bundle as bundles
from patchvote.jobs.signals import wake_up
from patchvote.registry.models import BundleUpload, Origin
from patchvote.registry.services import register

if TYPE_CHECKING:
    from patchvote.accounts.models import User


def upload(file: File[bytes], *, by: User) -> BundleUpload:
    """Store an uploaded bundle and queue its trial.

    Args:
        file: The zip; refused at once if its list of contents shows that it is not a bundle.
        by: The user who uploads it.

    Raises:
        BundleError: If the zip cannot be a bundle. Nothing was stored.
    """
    bundles.check(file, max_bytes=settings.BUNDLE_MAX_BYTES)
    file.seek(0)
    job = BundleUpload(filename=Path(file.name or "").name[-255:], created_by=by)
    try:
        # A large upload is a file already: it is moved, not copied.
        FileSystemStorage(job.folder).save(job.archive.name, file)
        with transaction.atomic():
            job.save(force_insert=True)
            transaction.on_commit(partial(wake_up.send, sender=BundleUpload), robust=True)
    except BaseException:
        delete_files(job)
        raise
    return job


def error_message(error: bundles.BundleError) -> str:
    """Return what is wrong with a bundle, in the active language."""
    return gettext(error.template) % error.values if error.values else gettext(error.template)


def accept(job: BundleUpload, folder: str | Path, result: dict[str, Any]) -> dict[str, Any]:
    """Register an uploaded bundle that a child process has unpacked and tried.

    Args:
        job: The upload.
        folder: The folder of the unpacked bundle.
        result: The child's result, with the `sha256` of the tried bundle.

    Returns:
        The fields of the job that the ledger stores.

    Raises:
        BundleError: If the folder does not contain the bundle that was tried.
    """
    if bundles.Bundle.load(folder).sha256 != result["sha256"]:
        raise bundles.BundleError("The bundle is not the one that was tried.")
    version = register(folder, origin=Origin.UPLOAD, by=job.created_by, tried=True)
    return {"model_version": version}


def delete_files(job: BundleUpload) -> None:
    """Delete the files of an upload; the registry has its own copy of an accepted bundle."""
    shutil.rmtree(job.folder, ignore_errors=True)
