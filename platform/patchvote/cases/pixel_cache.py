"""Decoded pixels, handed from the web server to the worker.

The web server decodes each upload to check it. It leaves the pixels here, so that the worker need not decode the file a
second time. What is missing or does not have the image's hash is decoded from the original: this is a cache.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from classifier.imaging.decode import Limits, decode, pixel_hash

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from patchvote.cases.models import Image

logger = logging.getLogger(__name__)

STORED = Limits(max_bytes=None, max_pixels=2**40, min_side=1)
"""For images that were accepted: they stay readable when the bounds of new ones are lowered."""

MOST_FILES = 256
LARGEST = 4_000_000
"""Pixels: with both bounds, at most 3 GB wait here, however long the queue; the rest is decoded again."""


def folder() -> Path:
    """Where they lie."""
    return Path(settings.CACHE_DIR) / "pixels"


def keep(image: Image, pixels: NDArray[np.uint8]) -> None:
    """Leave the pixels of an image that was just decoded; a disk that takes none is no error."""
    import numpy as np

    if image.width * image.height > LARGEST:
        return
    place, draft = _path(image), _path(image).with_suffix(".draft")
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.scandir(place.parent) as entries:
            if sum(1 for _ in entries) >= MOST_FILES:
                return
        with draft.open("wb") as file:
            np.save(file, pixels)
        draft.replace(place)
    except OSError as error:
        logger.warning("no decoded pixels are kept: %s", error)
        with suppress(OSError):
            draft.unlink()


def take(image: Image) -> NDArray[np.uint8]:
    """The pixels of a stored image: RGB, uint8, of shape (height, width, 3).

    Raises:
        FileNotFoundError: If the image's file is gone.
        DecodeError: If it was damaged.
        OSError: If it cannot be read.
    """
    kept = _kept(image)
    return read(image) if kept is None else kept


def read(image: Image) -> NDArray[np.uint8]:
    """The pixels of a stored image, decoded from its file; shape and errors as of `take`."""
    with image.file.open("rb") as file:
        return decode(file, STORED).pixels


def forget(image: Image) -> None:
    """Remove what was kept."""
    with suppress(OSError):
        _path(image).unlink()


def _kept(image: Image) -> NDArray[np.uint8] | None:
    import numpy as np

    try:
        pixels: NDArray[np.uint8] = np.load(_path(image), allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or damaged
        return None
    finally:
        forget(image)
    return pixels if pixel_hash(pixels) == image.sha256 else None


def _path(image: Image) -> Path:
    return folder() / f"{image.pk.hex}.npy"
