"""What a browser gets of an image: re-encoded pixels, without metadata, never the bytes that were sent.

The inference worker makes them while it has the pixels at hand; a browser that comes earlier has them made on the spot.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from patchvote.cases import pixel_cache
from patchvote.cases.models import Image
from patchvote.cases.services import DECODING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

CONTENT_TYPE = "image/jpeg"
SIZES = {"full": 4096, "thumbnail": 240}
"""Longest side in pixels, by name."""

_QUALITY = 92


def preview(image: Image, size: str) -> bytes:
    """The re-encoded picture, made at its first request and kept.

    Args:
        image: Whose picture.
        size: A key of `SIZES`.

    Raises:
        OSError: If the stored file cannot be read.
        DecodeError: If it was damaged.
    """
    try:
        with default_storage.open(_name(image, size)) as file:
            return bytes(file.read())
    except FileNotFoundError:
        pass
    with DECODING:
        return _make(image, size, pixel_cache.read(image))


def make(image: Image, decoded: NDArray[np.uint8]) -> None:
    """Make all previews of an image whose pixels are at hand; what fails now is made when it is asked for."""
    try:
        for size in SIZES:
            if not default_storage.exists(_name(image, size)):
                _make(image, size, decoded)
    except Exception:
        logger.exception("no previews were made", extra={"image": str(image.pk)})


def _make(image: Image, size: str, decoded: NDArray[np.uint8]) -> bytes:
    from PIL import Image as Picture

    picture = Picture.fromarray(decoded)
    picture.thumbnail((SIZES[size], SIZES[size]), Picture.Resampling.LANCZOS, reducing_gap=1.0)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=_QUALITY, subsampling=0)
    data = encoded.getvalue()
    # Two requests at the same moment: the second finds it there, or saves the same once more under another name.
    if not default_storage.exists(_name(image, size)):
        try:
            default_storage.save(_name(image, size), ContentFile(data))
        except OSError:  # a full disk takes no picture away from who looks at it
            logger.exception("a preview could not be kept", extra={"image": str(image.pk)})
    return data


def _name(image: Image, size: str) -> str:
    return f"previews/{image.pk.hex[:2]}/{image.pk.hex}-{size}.jpg"
