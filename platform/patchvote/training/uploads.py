"""The job that tries an uploaded bundle in a child process before the registry accepts it."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from patchvote.registry import uploads
from patchvote.registry.models import BundleUpload
from patchvote.training.job_handlers import Handler
from trainer.worker.protocol import BundleOrder, Event


class BundleUploadHandler(Handler[BundleUpload]):
    """The handler of uploaded bundles."""

    model = BundleUpload

    def create_order(self, job: BundleUpload) -> BundleOrder:
        """Return the order to unpack the bundle and try it on a known image."""
        return BundleOrder(archive=job.archive, folder=job.folder / "bundle", max_bytes=settings.BUNDLE_MAX_BYTES)

    def handle_event(self, job: BundleUpload, event: Event) -> None:
        """Do nothing: the child sends no other events than progress."""

    def store_result(self, job: BundleUpload, result: dict[str, Any]) -> dict[str, Any]:
        """Register the bundle."""
        return uploads.accept(job, job.folder / "bundle", result)

    def clean_up(self, job: BundleUpload) -> None:
        """Delete the files: the registry has a copy of an accepted bundle, a refused one is not kept."""
        uploads.delete_files(job)
