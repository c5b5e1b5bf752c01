"""PNG files, decoded by libpng with the processor's vector instructions.

Nearly every micrograph comes as a plain one: 8 bits for each of red, green and blue, and nothing that changes how they
look. Pillow takes half as much time again for it, and reads a file that ends too early as a picture with black lines.
"""

from __future__ import annotations

import imagecodecs
import numpy as np
from numpy.typing import NDArray

_EIGHT_BITS_RGB = b"\x08\x02"
_DEPTH_AND_COLOUR = slice(24, 26)
"""Where a file says so."""

_SECOND_THOUGHTS = (b"tRNS", b"acTL", b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
"""Transparency, frames, and turns: names in chunks, and wherever one stands, Pillow should look at the file."""


def decode_png(data: bytes) -> NDArray[np.uint8] | None:
    """See whether a PNG file is whole, and decode it if it is a plain one.

    Args:
        data: A PNG file whose size in pixels is known to be acceptable.

    Returns:
        RGB, uint8, of shape (height, width, 3); None if more has to be thought of than its pixels.

    Raises:
        imagecodecs.PngError: If the file is damaged or incomplete; or a UnicodeError, where libpng's reason is no text.
    """
    pixels: NDArray[np.uint8] = imagecodecs.png_decode(data)
    plain = data[_DEPTH_AND_COLOUR] == _EIGHT_BITS_RGB and not any(name in data for name in _SECOND_THOUGHTS)
    return pixels if plain else None
