"""From the bytes of an upload to pixels, or to an error that says why not.

Only decoding decides, never the file's name or its declared content type. `docs/images.md` lists how each kind of
unusual image is handled; a test covers every kind.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageMode, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile

from classifier.imaging.png import decode_png
from classifier.utils.messages import MessageError, gettext_noop

# Pillow's own bound on pixels is not used: `_check_header` refuses large images before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
"""The accepted formats, by Pillow's names."""

# Formats that users send by mistake, by their first bytes; the error names the format.
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
    (b"<?xml", "SVG or XML"),
    (b"8BPS", "Photoshop"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"\x00\x00\x01\x00", "icon"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"SIMPLE  =", "FITS"),
)
_SIGNATURES_AT = {4: ((b"ftyp", "HEIC, AVIF or video"),), 128: ((b"DICM", "DICOM"),)}


DAMAGED = gettext_noop("The image is damaged or incomplete. Export or copy it again and send that file.")
FAR_TOO_MANY_PIXELS = gettext_noop("The image has far too many pixels. Send the region of interest.")
UNSUPPORTED_PIXELS = gettext_noop(
    "Pixels of the type %(mode)s cannot be read. Send 8 or 16 bits for each of red, green and blue."
)


class DecodeError(MessageError):
    """An image that cannot be analysed; the message says what is wrong and what to do.

    Attributes:
        code: A stable, machine-readable name of the problem, documented in the API guide.
    """

    def __init__(self, code: str, template: str, **values: object) -> None:
        """Store the code, and the message as `MessageError` does."""
        super().__init__(template, **values)
        self.code = code

    @property
    def message(self) -> str:
        """The message in English."""
        return str(self)


class ReadableFile(Protocol):
    """A file opened for reading in binary."""

    def seek(self, offset: int, /) -> object:
        """Move to a position."""

    def read(self, size: int, /) -> bytes:
        """Read at most `size` bytes."""


@dataclass(frozen=True)
class Limits:
    """Bounds that are checked before any pixel is decoded.

    Attributes:
        max_bytes: The maximum file size, in bytes; None for no limit.
        max_pixels: The maximum of width times height.
        min_side: The minimum width and height, in pixels: the side of a patch.
    """

    max_bytes: int | None = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    min_side: int = 225


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    Attributes:
        pixels: RGB, uint8, of shape (height, width, 3).
        sha256: The SHA-256 of the pixels and their shape, in hexadecimal: equal for equal images, whatever their files.
        format: The file's format, by Pillow's name.
    """

    pixels: NDArray[np.uint8]
    sha256: str
    format: str

    @property
    def width(self) -> int:
        """The width, in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """The height, in pixels."""
        return int(self.pixels.shape[0])


def decode(source: bytes | str | Path | ReadableFile, limits: Limits | None = None) -> Decoded:
    """Check and decode one image.

    Args:
        source: The file's bytes, its path, or an open binary file (read from its start).
        limits: The bounds; None for the defaults of `Limits`.

    Raises:
        DecodeError: With one of the codes `empty`, `too_many_bytes`, `not_an_image`, `unsupported_format`,
            `too_many_pixels`, `too_small`, `several_images`, `unsupported_pixels`, `truncated`.
        OSError: If a path cannot be read.
    """
    limits = limits or Limits()
    data = _read(source, limits)
    try:
        with _open(data) as image:
            _check_header(image, limits)
            pixels = None
            if image.format == "PNG":
                with _open(data) as twin:
                    twin.verify()  # decoding does not verify all checksums
                pixels = decode_png(data, image.size)
            if pixels is None:
                image.load()
                pixels = _to_rgb(image)
            file_format = image.format or "unknown"
    except DecodeError:
        raise
    except Exception as error:  # on hostile bytes Pillow's readers raise nearly anything
        raise DecodeError("truncated", DAMAGED) from error
    return Decoded(pixels=pixels, sha256=pixel_hash(pixels), format=file_format)


def pixel_hash(pixels: NDArray[np.uint8]) -> str:
    """Return the SHA-256, in hexadecimal, of an array's shape and bytes."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _read(source: bytes | str | Path | ReadableFile, limits: Limits) -> bytes:
    size = -1 if limits.max_bytes is None else limits.max_bytes + 1
    if isinstance(source, str | Path):
        with Path(source).open("rb") as file:
            data = file.read(size)
    elif isinstance(source, bytes):
        data = source
    else:
        source.seek(0)
        data = source.read(size)
    if not data:
        raise DecodeError("empty", gettext_noop("The file is empty."))
    if limits.max_bytes is not None and len(data) > limits.max_bytes:
        raise DecodeError(
            "too_many_bytes",
            gettext_noop("The file is larger than the %(limit)s MB allowed."),
            limit=f"{limits.max_bytes / 2**20:.0f}",
        )
    return data


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        kind = _foreign_format(data)
        if kind:
            raise DecodeError(
                "unsupported_format",
                gettext_noop("Files of the kind %(kind)s cannot be read. Send PNG, JPEG, TIFF, BMP or WebP."),
                kind=kind,
            ) from None
        if any(data.startswith(start) for start in (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM")):
            raise DecodeError("truncated", DAMAGED) from None
        raise DecodeError(
            "not_an_image",
            gettext_noop("This is not an image. Send a micrograph as PNG, JPEG, TIFF, BMP or WebP."),
        ) from None


def _foreign_format(data: bytes) -> str | None:
    head = data[:256].lstrip(b"\xef\xbb\xbf \t\r\n")
    for start, name in _SIGNATURES:
        if data.startswith(start) or head.lower().startswith(start.lower()):
            return name
    for offset, signatures in _SIGNATURES_AT.items():
        for start, name in signatures:
            if data[offset:].startswith(start):
                return name
    return None


def _check_header(image: Image.Image, limits: Limits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        raise DecodeError(
            "too_many_pixels",
            gettext_noop(
                "The image has %(width)d x %(height)d pixels, more than the %(limit)s megapixels allowed. "
                "Send the region of interest."
            ),
            width=width,
            height=height,
            limit=f"{limits.max_pixels / 1e6:g}",
        )
    if min(width, height) < limits.min_side:
        raise DecodeError(
            "too_small",
            gettext_noop("The image has %(width)d x %(height)d pixels; both sides must have at least %(limit)d."),
            width=width,
            height=height,
            limit=limits.min_side,
        )
    if isinstance(image, TiffImageFile):
        # Decoding allocates a whole tile, however little of it lies within the image.
        tile = image.tag_v2.get(TILEWIDTH, 1) * image.tag_v2.get(TILELENGTH, 1)
        if tile > limits.max_pixels:
            raise DecodeError("too_many_pixels", FAR_TOO_MANY_PIXELS)
    # An MPO file is a JPEG followed by previews; its first frame is the image. Counting the frames would read all of
    # them.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise DecodeError(
            "several_images",
            gettext_noop("The file holds several images (pages or frames). Send each as a file of its own."),
        )


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return upright RGB on a white background, whatever the file's mode."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode in {"I", "F"} or upright.mode.startswith("I;16"):
        return _from_deep_grey(upright)
    if ImageMode.getmode(upright.mode).basemode not in {"L", "RGB", "P", "CMYK", "LAB", "HSV"}:
        raise DecodeError("unsupported_pixels", UNSUPPORTED_PIXELS, mode=upright.mode)
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        upright = Image.new("RGB", rgba.size, "white")
        upright.paste(rgba, mask=rgba.getchannel("A"))
    return np.array(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _from_deep_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Reduce 16-bit grey to its high byte; refuse wider grey, for which no value is defined as white."""
    deep = np.asarray(image)
    if image.mode == "F" or deep.min() < 0 or deep.max() > np.iinfo(np.uint16).max:
        raise DecodeError("unsupported_pixels", UNSUPPORTED_PIXELS, mode=image.mode)
    grey = (deep.astype(np.uint16) >> 8).astype(np.uint8)
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)
