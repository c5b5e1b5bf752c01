"""A cache of decoded pixels, which the web server writes and the inference worker reads.

The web server decodes each upload to check it, and caches the pixels so that the worker need not decode the file again.
If an entry is missing or does not have the image's hash, the worker decodes the stored file.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from classifier.imaging.decode import decode, pixel_hash
from patchvote.cases.decoding import STORED_LIMITS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from patchvote.cases.models import Image

logger = logging.getLogger(__name__)

MAX_FILES = 256
"""Maximum number of cached images. With `MAX_PIXELS`, the cache holds at most 3 GB, however long the queue is."""

MAX_PIXELS = 4_000_000
"""Maximum number of pixels of a cached image; larger images are decoded again."""


def folder() -> Path:
    """Return the folder of the cached files."""
    return Path(settings.CACHE_DIR) / "pixels"


def put(image: Image, pixels: NDArray[np.uint8]) -> None:
    """Cache the pixels of an image that was just decoded; a full disk is not an error."""
    import numpy as np

    if image.width * image.height > MAX_PIXELS:
        return
    place, draft = _path(image), _path(image).with_suffix(".draft")
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.scandir(place.parent) as entries:
            if sum(1 for _ in entries) >= MAX_FILES:
                return
        with draft.open("wb") as file:
            np.save(file, pixels)
        draft.replace(place)
    except OSError as error:
        logger.warning("the decoded pixels cannot be cached: %s", error)
        with suppress(OSError):
            draft.unlink()


def pop(image: Image) -> NDArray[np.uint8]:
    """Return the pixels of a stored image and remove its cache entry.

    Returns:
        RGB pixels of shape (height, width, 3).

    Raises:
        FileNotFoundError: If the image's file is missing.
        DecodeError: If the file is damaged.
        OSError: If the file cannot be read.
    """
    cached = _pop_cached(image)
    return decode_stored(image) if cached is None else cached


def decode_stored(image: Image) -> NDArray[np.uint8]:
    """Decode the stored file of an image; result and errors are those of `pop`."""
    with image.file.open("rb") as file:
        return decode(file, STORED_LIMITS).pixels


def discard(image: Image) -> None:
    """Remove the cache entry of an image, if there is one."""
    with suppress(OSError):
        _path(image).unlink()


def _pop_cached(image: Image) -> NDArray[np.uint8] | None:
    import numpy as np

    try:
        pixels: NDArray[np.uint8] = np.load(_path(image), allow_pickle=False)
    except (OSError, ValueError, EOFError):  # missing or damaged
        return None
    finally:
        discard(image)
    return pixels if pixel_hash(pixels) == image.sha256 else None


def _path(image: Image) -> Path:
    return folder() / f"{image.pk.hex}.npy"
