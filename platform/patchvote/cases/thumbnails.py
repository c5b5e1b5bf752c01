"""Previews of images for browsers: re-encoded copies without metadata; the uploaded bytes are never served.

The inference worker creates them from the pixels that it has decoded; an earlier request creates them on demand.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from patchvote.cases import pixel_cache
from patchvote.cases.decoding import DECODING
from patchvote.cases.models import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

CONTENT_TYPE = "image/jpeg"
SIZES = {"full": 4096, "thumbnail": 240}
"""The longest side of a preview in pixels, by the name of its size."""

_QUALITY = 92


def preview(image: Image, size: str) -> bytes:
    """Return a preview as a JPEG; create and store it at the first request.

    Args:
        image: The image.
        size: A key of `SIZES`.

    Raises:
        OSError: If the stored file cannot be read.
        DecodeError: If the stored file is damaged.
    """
    try:
        with default_storage.open(_name(image, size)) as file:
            return bytes(file.read())
    except FileNotFoundError:
        pass
    with DECODING:
        return _create(image, size, pixel_cache.decode_stored(image))


def create_previews(image: Image, pixels: NDArray[np.uint8]) -> None:
    """Create all previews of an image from its decoded pixels. After a failure, a later request creates them."""
    try:
        for size in SIZES:
            if not default_storage.exists(_name(image, size)):
                _create(image, size, pixels)
    except Exception:
        logger.exception("the previews could not be created", extra={"image": str(image.pk)})


def _create(image: Image, size: str, pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image as PillowImage

    copy = PillowImage.fromarray(pixels)
    copy.thumbnail((SIZES[size], SIZES[size]), PillowImage.Resampling.LANCZOS, reducing_gap=1.0)
    encoded = io.BytesIO()
    copy.save(encoded, "JPEG", quality=_QUALITY, subsampling=0)
    data = encoded.getvalue()
    # With two requests at the same time, the second finds the file or saves the same data under another name.
    if not default_storage.exists(_name(image, size)):
        try:
            default_storage.save(_name(image, size), ContentFile(data))
        except OSError:  # a full disk: the user still gets the preview
            logger.exception("the preview could not be stored", extra={"image": str(image.pk)})
    return data


def _name(image: Image, size: str) -> str:
    return f"previews/{image.pk.hex[:2]}/{image.pk.hex}-{size}.jpg"
