"""Images made for tests."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image as Picture


def noise(width: int = 700, height: int = 460, seed: int = 0) -> np.ndarray:
    """Return a random image in the colours of stained tissue; each seed gives another one."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 120, (height // 20 + 1, width // 20 + 1, 3), dtype=np.uint8)
    pixels = coarse.repeat(20, axis=0).repeat(20, axis=1)[:height, :width]
    return (pixels + np.array([130, 60, 110], np.uint8)).astype(np.uint8)


def encode(pixels: np.ndarray | Picture.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of an image file."""
    picture = pixels if isinstance(pixels, Picture.Image) else Picture.fromarray(pixels)
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()
