"""What a browser gets of an image: re-encoded pixels, without metadata, never the bytes that were sent."""

from __future__ import annotations

import io

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from classifier.decode import decode
from patchvote.cases.models import Image
from patchvote.cases.services import DECODING, STORED

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
    from PIL import Image as Picture

    name = f"previews/{image.pk.hex[:2]}/{image.pk.hex}-{size}.jpg"
    try:
        with default_storage.open(name) as file:
            return bytes(file.read())
    except FileNotFoundError:
        pass
    with DECODING, image.file.open("rb") as file:
        picture = Picture.fromarray(decode(file, STORED).pixels)
    picture.thumbnail((SIZES[size], SIZES[size]), Picture.Resampling.LANCZOS)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=_QUALITY, subsampling=0)
    data = encoded.getvalue()
    # Two requests at the same moment: the storage gives the second another name; both answers are right.
    if not default_storage.exists(name):
        default_storage.save(name, ContentFile(data))
    return data
