"""What is read here is what Pillow reads, what only Pillow can be sure of is left to it, and half a file is refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from classifier.imaging.decode import DecodeError, decode
from classifier.imaging.png import decode_png
from testing.images import encode, noise

RGB, RGBA, GREY = 2, 6, 0
_CHANNELS = {RGB: 3, RGBA: 4, GREY: 1}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def lines(pixels: np.ndarray) -> bytes:
    """Each line unfiltered, colours of 16 bits with the high byte first."""
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(len(pixels), -1)
    return b"".join(b"\0" + row.tobytes() for row in rows)


def file_of(
    pixels: np.ndarray,
    colour: int,
    *,
    extra: Sequence[bytes] = (),
    interlaced: bool = False,
    body: bytes | None = None,
    behind: Sequence[bytes] = (),
    level: int = -1,
) -> bytes:
    """A PNG file, written by hand; perhaps with other lines than the picture's."""
    height, width = pixels.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, colour, 0, 0, interlaced)
    parts = [pixels[y::dy, x::dx] for x, y, dx, dy in _ADAM7] if interlaced else [pixels]
    compressed = zlib.compress(b"".join(map(lines, parts)) if body is None else body, level)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), *extra, chunk(b"IDAT", compressed), *behind, chunk(b"IEND", b"")]
    )


def by_pillow(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def smooth() -> np.ndarray:
    """A picture on which encoders choose all of their filters."""
    y, x = np.mgrid[:460, :700]
    wave = np.stack([np.sin(x / 40), np.sin(y / 30), np.sin((x + y) / 50)], axis=2) * 60 + 128
    return (wave + np.random.default_rng(0).normal(0, 2, wave.shape)).astype(np.uint8)


@pytest.mark.parametrize(
    "data",
    [
        encode(noise()), encode(smooth()), encode(smooth(), compress_level=1), encode(smooth(), optimize=True),
        encode(smooth(), dpi=(300, 300)), encode(noise(226, 301)), file_of(noise(), RGB),
        file_of(smooth(), RGB, interlaced=True),
        file_of(smooth(), RGB, extra=[chunk(b"gAMA", struct.pack(">I", 22222)), chunk(b"sRGB", b"\0")]),
        file_of(smooth(), RGB, extra=[chunk(b"bKGD", b"\0\1" * 3), chunk(b"sBIT", b"\5\5\5")]),
    ],
    ids=["filtered", "smooth", "fast", "small", "dpi", "odd", "unfiltered", "interlaced", "gamma", "background"],
)  # fmt: skip
def test_plain_files_are_read_as_pillow_reads_them(data: bytes) -> None:
    pixels = decode_png(data, Image.open(io.BytesIO(data)).size)
    assert pixels is not None
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, by_pillow(data))
    np.testing.assert_array_equal(decode(data).pixels, pixels)


def _turned(**options: Any) -> bytes:
    return encode(noise(300, 400), **options)


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _raw_profile() -> PngInfo:
    info = PngInfo()
    raw = _exif().tobytes()
    info.add_text("Raw profile type exif", f"\nexif\n{len(raw)}\n{raw.hex()}\n")
    return info


def _xmp(*, compressed: bool) -> PngInfo:
    info = PngInfo()
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    info.add_itxt("XML:com.adobe.xmp", packet, zip=compressed)
    return info


def _transparent() -> bytes:
    red, green, blue = (int(value) for value in noise()[0, 0])
    return file_of(noise(), RGB, extra=[chunk(b"tRNS", struct.pack(">HHH", red, green, blue))])


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (_turned(exif=_exif()), (400, 300)),
        (_turned(pnginfo=_raw_profile()), (400, 300)),
        (_turned(pnginfo=_xmp(compressed=False)), (400, 300)),
        (_turned(pnginfo=_xmp(compressed=True)), (400, 300)),
        (_transparent(), (700, 460)),
        (
            file_of(noise(400, 300), RGB, behind=[chunk(b"eXIf", _exif().tobytes().removeprefix(b"Exif\0\0"))]),
            (300, 400),
        ),
        (file_of(noise(), RGB, behind=[chunk(b"tRNS", b"\0\1" * 3)]), (700, 460)),
        (file_of(noise(), RGB, extra=[chunk(b"tEXt", b"exif\0Exif\0\0")]), (700, 460)),
        (file_of(noise().astype(np.uint16) * 257, RGB), (700, 460)),
        (file_of(noise()[..., :1], GREY), (700, 460)),
        (file_of(np.dstack([noise(), noise()[..., :1]]), RGBA), (700, 460)),
        (encode(Image.fromarray(noise()).quantize(16)), (700, 460)),
    ],
    ids=[
        "exif",
        "raw profile",
        "xmp",
        "compressed xmp",
        "transparent",
        "late exif",
        "late transparency",
        "text named exif",
        "16 bits",
        "grey",
        "alpha",
        "palette",
    ],
)
def test_all_others_are_left_to_pillow(data: bytes, size: tuple[int, int]) -> None:
    assert decode_png(data, Image.open(io.BytesIO(data)).size) is None
    decoded = decode(data)
    assert (decoded.width, decoded.height) == size


def test_a_name_within_the_picture_means_nothing() -> None:
    pixels = noise()
    pixels[100, 100:102] = np.frombuffer(b"tRNS__", np.uint8).reshape(2, 3)
    data = file_of(pixels, RGB, level=0)
    assert b"tRNS" in data
    np.testing.assert_array_equal(decode_png(data, (pixels.shape[1], pixels.shape[0])), pixels)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_nothing_that_pillow_reads_is_refused(mode: str) -> None:
    data = encode(Image.fromarray(noise()).convert(mode))
    if mode in {"1", "L", "P", "RGB"}:
        np.testing.assert_array_equal(decode(data).pixels, by_pillow(data))
    assert decode(data).pixels.shape == (460, 700, 3)


@pytest.mark.parametrize("colours", [2, 4, 16, 256])
def test_palettes_of_all_depths_are_read(colours: int) -> None:
    data = encode(Image.fromarray(smooth()).quantize(colours), bits=max(1, (colours - 1).bit_length()))
    np.testing.assert_array_equal(decode(data).pixels, by_pillow(data))


def test_a_transparent_colour_is_white_as_before() -> None:
    assert decode(_transparent()).pixels[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize(
    ("pixels", "colour"),
    [(noise(), RGB), (noise()[..., :1], GREY), (noise().astype(np.uint16) * 257, RGB)],
    ids=["plain", "grey", "16 bits"],
)
def test_sound_checksums_do_not_make_up_for_missing_pixels(pixels: np.ndarray, colour: int, share: float) -> None:
    """Lines that are not there must not become black tissue."""
    whole = lines(pixels)
    data = file_of(pixels, colour, body=whole[: int(len(whole) * share)])
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert caught.value.code == "truncated"


@pytest.mark.parametrize("colours", [2, 4, 16])
@pytest.mark.parametrize("interlaced", [False, True])
def test_the_last_byte_of_small_pixels_counts(colours: int, *, interlaced: bool) -> None:
    """Several pixels share a byte, and no line of an odd width ends with a full one."""
    depth = (colours - 1).bit_length()
    pixels = np.random.default_rng(0).integers(0, colours, (227, 233), dtype=np.uint8)
    parts = [pixels[y::dy, x::dx] for x, y, dx, dy in _ADAM7] if interlaced else [pixels]
    body = b"".join(b"\0" + packed(line, depth) for part in parts for line in part)
    header = struct.pack(">IIBBBBB", 233, 227, depth, GREY, 0, 0, interlaced)
    whole, short = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
        for data in (body, body[:-1])
    )
    np.testing.assert_array_equal(decode(whole).pixels, by_pillow(whole))
    with pytest.raises(DecodeError) as caught:
        decode(short)
    assert caught.value.code == "truncated"


def packed(line: np.ndarray, depth: int) -> bytes:
    """Pixels of less than a byte, the first one in the highest bits."""
    bits = (line[:, np.newaxis] >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


@pytest.mark.parametrize("pixels", [noise(), noise()[..., :1]], ids=["plain", "grey"])
def test_a_picture_in_many_chunks_or_without_its_last_checksum_is_read(pixels: np.ndarray) -> None:
    colour = RGB if pixels.shape[2] == _CHANNELS[RGB] else GREY
    header = struct.pack(">IIBBBBB", 700, 460, 8, colour, 0, 0, 0)
    compressed = zlib.compress(lines(pixels))[:-4]
    parts = [chunk(b"IDAT", compressed[at : at + 1000]) for at in range(0, len(compressed), 1000)]
    data = b"\x89PNG\r\n\x1a\n" + b"".join([chunk(b"IHDR", header), *parts, chunk(b"IEND", b"")])
    np.testing.assert_array_equal(decode(data).pixels, by_pillow(data))


def test_a_large_picture_does_not_hold_up_other_threads() -> None:
    pixels = noise(2000, 1200)
    whole, short = file_of(pixels, RGB), file_of(pixels, RGB, body=lines(pixels)[:-1])
    assert decode_png(whole, (2000, 1200)) is None
    np.testing.assert_array_equal(decode(whole).pixels, pixels)
    with pytest.raises(DecodeError) as caught:
        decode(short)
    assert caught.value.code == "truncated"


@pytest.mark.parametrize("colour", [RGB, GREY])
@pytest.mark.parametrize("first", [(1_000_000, 1_000_000), (300, 301)])
def test_a_file_that_says_twice_how_large_it_is_is_refused(colour: int, first: tuple[int, int]) -> None:
    """Pillow believes the last one; memory for the first one there is none."""
    pixels = noise(300, 300)[..., : _CHANNELS[colour]]
    data = file_of(pixels, colour)
    huge = chunk(b"IHDR", struct.pack(">IIBBBBB", *first, 8, colour, 0, 0, 0))
    with pytest.raises(DecodeError):
        decode(data[:8] + huge + data[8:])


def test_what_follows_the_end_of_the_picture_is_not_looked_at() -> None:
    """Each chunk behind a stream that has ended would cost as much as all those before it."""
    pixels = noise()[..., :1]
    data = file_of(pixels, GREY, body=lines(pixels)[:1000])
    more = chunk(b"IDAT", b"0") * 200_000
    with pytest.raises(DecodeError) as caught:
        decode(data[:-12] + more + data[-12:])
    assert caught.value.code == "truncated"


def test_what_follows_the_file_means_nothing() -> None:
    data = encode(noise()) + chunk(b"eXIf", _exif().tobytes()) + bytes(1000)
    np.testing.assert_array_equal(decode_png(data, (700, 460)), noise())
    np.testing.assert_array_equal(decode(data).pixels, by_pillow(data))


def test_a_wrong_checksum_is_refused_wherever_it_is() -> None:
    for name in (b"IHDR", b"pHYs", b"IDAT"):
        data = bytearray(encode(noise(), dpi=(300, 300)))
        at = data.index(name)
        length = struct.unpack(">I", data[at - 4 : at])[0]
        data[at + 4 + length] ^= 1
        with pytest.raises(DecodeError):
            decode(bytes(data))
