"""Uploaded bundles: tried by a child process before the registry takes them."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from patchvote.registry import services as registry
from patchvote.registry.models import BundleUpload
from patchvote.training.job_handlers import Handler
from trainer.worker.protocol import BundleOrder, Event


class BundleUploadHandler(Handler[BundleUpload]):
    """Tries an uploaded bundle."""

    model = BundleUpload

    def order(self, job: BundleUpload) -> BundleOrder:
        """Unpack it and run it on a known image."""
        return BundleOrder(archive=job.archive, folder=job.folder / "bundle", max_bytes=settings.BUNDLE_MAX_BYTES)

    def happened(self, job: BundleUpload, event: Event) -> None:
        """There is nothing but progress."""

    def succeeded(self, job: BundleUpload, result: dict[str, Any]) -> dict[str, Any]:
        """Register it."""
        return registry.accept_upload(job, job.folder / "bundle", result)

    def ended(self, job: BundleUpload) -> None:
        """The registry has its own copy; of what was refused nothing is kept but the reason."""
        registry.forget_upload(job)
