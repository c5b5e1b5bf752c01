"""Limits for decoding images: of pixels and bytes, and of images that one process decodes at the same time."""

from __future__ import annotations

import threading
from dataclasses import replace

from django.conf import settings

from classifier.imaging.decode import Limits
from patchvote.registry.models import ModelVersion

STORED_LIMITS = Limits(max_bytes=None, max_pixels=2**40, min_side=1)
"""The limits for images that were accepted earlier: they stay readable when the limits for uploads are lowered."""

DECODING = threading.BoundedSemaphore(1)
"""Held while a web process decodes: an image needs up to a gigabyte of memory, however many requests arrive."""


def upload_limits(model_version: ModelVersion | None) -> Limits:
    """Return the limits for an uploaded image that a model version will analyse."""
    limits = Limits(max_bytes=settings.UPLOAD_MAX_BYTES, max_pixels=settings.UPLOAD_MAX_PIXELS)
    return replace(limits, min_side=model_version.patch_size) if model_version else limits
