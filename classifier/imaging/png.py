"""PNG files: a faster decoder for plain ones, and a check that a file is complete.

Nearly every micrograph is a plain PNG: 8 bits for each of red, green and blue, and no chunk that changes how the image
looks. kornia decodes such a file in a third of Pillow's time. Pillow also accepts PNG files of any kind that end too
early and fills the rest with black rows; this module refuses them. docs/adr/0010-png-chunks.md has the measurements.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from kornia_rs.io import decode_image_png_u8
from numpy.typing import NDArray

_RGB = 2
_CHANNELS = {0: 1, _RGB: 3, 3: 1, 4: 2, 6: 4}
"""The number of channels by colour type: grey, RGB, palette, grey with alpha, RGB with alpha."""

_PILLOW_MARKERS = (
    *(b"tRNS", b"acTL", b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp"),
    *(b"exif\0", b"transparency\0"),  # as keywords of text chunks
)
"""Names of chunks, and texts within chunks, that stand for transparency, frames or rotation: Pillow decodes a file that
contains any of them."""

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes of an interlaced image: first column, first row, column step, row step."""

MAX_PIXELS = 2_000_000
"""The maximum number of pixels that kornia decodes. It holds the interpreter lock meanwhile: 30 ms for these."""

_FIRST_CHUNK = 8
_IMAGE_DATA, _END = b"IDAT", b"IEND"
_MAX_PIECE = 2**20
"""The maximum number of bytes that one call decompresses."""


def decode_png(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Check that a PNG file is complete, and decode it if it is plain and not large.

    Args:
        data: A PNG file whose chunks have correct checksums.
        size: The accepted width and height, in pixels.

    Returns:
        RGB, uint8, of shape (height, width, 3); None if Pillow has to decode the file.

    Raises:
        ValueError: If the file is incomplete, or states another size.
        Exception: If it is damaged: kornia and zlib raise errors of their own.
    """
    header = _Header.of(data)
    if (header.width, header.height) != size:  # several headers: each decoder uses another one
        raise ValueError("The file has several headers with different sizes.")
    plain = (header.depth, header.colour) == (8, _RGB) and not _needs_pillow(data)
    if plain and header.width * header.height <= MAX_PIXELS:
        pixels: NDArray[np.uint8] = decode_image_png_u8(data, (header.height, header.width), "rgb")
        return pixels
    if _decompressed_bytes(data, header.decompressed_bytes) < header.decompressed_bytes:
        raise ValueError("The file ends before its image data does.")
    return None


def _decompressed_bytes(data: bytes, enough: int) -> int:
    """Return the size of the decompressed image data; stop soon after `enough` bytes."""
    found = 0
    stream = zlib.decompressobj()
    for part in _image_data(data):
        rest = part
        while rest and found < enough and not stream.eof:
            found += len(stream.decompress(rest, _MAX_PIECE))
            rest = stream.unconsumed_tail
        if found >= enough or stream.eof:
            return found
    return found + len(stream.flush())  # bytes that zlib has buffered


@dataclass(frozen=True)
class _Header:
    """The first header of a file."""

    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool

    @classmethod
    def of(cls, data: bytes) -> Self:
        width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, _FIRST_CHUNK + 8)
        return cls(width, height, depth, colour, bool(interlaced))

    @property
    def decompressed_bytes(self) -> int:
        """The size of the decompressed image data: all rows, each with one byte for its filter."""
        bits = self.depth * _CHANNELS[self.colour]
        size = 0
        for column, row, column_step, row_step in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            columns, rows = -((column - self.width) // column_step), -((row - self.height) // row_step)
            if columns > 0 and rows > 0:
                size += rows * (1 + (columns * bits + 7) // 8)
        return size


def _needs_pillow(data: bytes) -> bool:
    """Return whether a chunk other than image data contains a marker.

    The image data, nearly the whole file, is not searched: it may contain the markers by chance.
    """
    others = b"\n".join(data[at + 4 : at + 8 + length] for name, at, length in _chunks(data) if name != _IMAGE_DATA)
    return any(marker in others for marker in _PILLOW_MARKERS)


def _image_data(data: bytes) -> Iterator[bytes]:
    """Yield the pieces of the compressed image data."""
    return (data[at + 8 : at + 8 + length] for name, at, length in _chunks(data) if name == _IMAGE_DATA)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, offset and content length of each chunk."""
    at = _FIRST_CHUNK
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, at, length
        if name == _END:  # decoders ignore what follows
            return
        at += length + 12
