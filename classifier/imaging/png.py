"""PNG files, decoded in half of Pillow's time, and only whole.

Nearly every micrograph comes as a plain one: 8 bits for each of red, green and blue, and nothing that changes how they
look. Pillow takes twice as long for it, and reads a file of any kind that ends too early as a picture with black lines.
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
"""Of each kind of colour: grey, RGB, palette, grey and RGB with transparency."""

_SECOND_THOUGHTS = (
    *(b"tRNS", b"acTL", b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp"),
    *(b"exif\0", b"transparency\0"),  # as names of texts
)
"""Transparency, frames, and turns: names of chunks or within them. Where one stands, Pillow should look at the file."""

_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes of an interlaced picture: first column, first line, and steps to the next ones."""

LARGEST = 2_000_000
"""Pixels that are decoded in half of the time, for no other thread of the process runs meanwhile: 30 ms for these."""

_FIRST_CHUNK = 8
_IMAGE_DATA, _END = b"IDAT", b"IEND"
_AT_ONCE = 2**20
"""Bytes that are decompressed at once."""


def decode_png(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """See whether a PNG file is whole, and decode it if it is a plain one and not large.

    Args:
        data: A PNG file whose chunks are sound.
        size: Width and height, in pixels, known to be acceptable.

    Returns:
        RGB, uint8, of shape (height, width, 3); None if Pillow has to decode it.

    Raises:
        ValueError: If the file is incomplete, or of another size.
        Exception: If it is damaged: kornia and zlib have errors of their own.
    """
    header = _Header.of(data)
    if (header.width, header.height) != size:  # it has several, and each reader believes another one
        raise ValueError("The file says twice how large it is.")
    plain = (header.depth, header.colour) == (8, _RGB) and not _gives_second_thoughts(data)
    if plain and header.width * header.height <= LARGEST:
        pixels: NDArray[np.uint8] = decode_image_png_u8(data, (header.height, header.width), "rgb")
        return pixels
    if _lines(data, header.size) < header.size:
        raise ValueError("The file ends before its picture does.")
    return None


def _lines(data: bytes, most: int) -> int:
    """How many bytes of lines the file has; no more than somewhat above `most` are looked for."""
    found = 0
    stream = zlib.decompressobj()
    for part in _image_data(data):
        rest = part
        while rest and found < most and not stream.eof:
            found += len(stream.decompress(rest, _AT_ONCE))
            rest = stream.unconsumed_tail
        if found >= most or stream.eof:
            return found
    return found + len(stream.flush())  # what zlib has read already


@dataclass(frozen=True)
class _Header:
    """What a file says of itself."""

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
    def size(self) -> int:
        """Bytes of its lines, each with the number of its filter."""
        bits = self.depth * _CHANNELS[self.colour]
        size = 0
        for column, line, across, down in _ADAM7 if self.interlaced else ((0, 0, 1, 1),):
            columns, lines = -((column - self.width) // across), -((line - self.height) // down)
            if columns > 0 and lines > 0:
                size += lines * (1 + (columns * bits + 7) // 8)
        return size


def _gives_second_thoughts(data: bytes) -> bool:
    """Whether anything beside the compressed picture, which is nearly all of a file, has one of the names."""
    beside = b"\n".join(data[at + 4 : at + 8 + length] for name, at, length in _chunks(data) if name != _IMAGE_DATA)
    return any(name in beside for name in _SECOND_THOUGHTS)


def _image_data(data: bytes) -> Iterator[bytes]:
    """The parts of the compressed picture."""
    return (data[at + 8 : at + 8 + length] for name, at, length in _chunks(data) if name == _IMAGE_DATA)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Of each chunk: its name, where it begins, and how many bytes of content it has."""
    at = _FIRST_CHUNK
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, at, length
        if name == _END:  # no reader looks behind it
            return
        at += length + 12
