"""Every kind of bad or unusual file has its outcome."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier.imaging.decode import Decoded, DecodeError, Limits, decode
from testing.images import encode, noise


def refusal(data: bytes, limits: Limits | None = None) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data, limits)
    assert caught.value.message.endswith(".")
    assert "%(" not in caught.value.message
    return caught.value.code


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP"])
def test_lossless_formats_keep_every_pixel(file_format: str) -> None:
    decoded = decode(encode(noise(), file_format))
    np.testing.assert_array_equal(decoded.pixels, noise())
    assert (decoded.width, decoded.height, decoded.format) == (700, 460, file_format)


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP"])
def test_lossy_formats_are_read(file_format: str) -> None:
    decoded = decode(encode(noise(), file_format, quality=90))
    assert decoded.pixels.shape == (460, 700, 3)
    assert np.abs(decoded.pixels.astype(int) - noise()).mean() < 12


def test_equal_pixels_have_equal_hashes_whatever_the_file() -> None:
    assert decode(encode(noise())).sha256 == decode(encode(noise(), "BMP")).sha256
    assert decode(encode(noise(seed=1))).sha256 != decode(encode(noise(seed=2))).sha256


def test_bytes_paths_and_files_are_the_same(tmp_path: Path, png: bytes) -> None:
    path = tmp_path / "a name that says.jpg"  # and lies: it is a PNG
    path.write_bytes(png)
    with path.open("rb") as file:
        file.read(10)
        assert decode(file).sha256 == decode(path).sha256 == decode(png).sha256


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"patient;verdict\n1;benign\n", "not_an_image"),
        (b"\x00" * 5000, "not_an_image"),
        (b"GIF89a" + b"\x00" * 50, "unsupported_format"),
        (b"%PDF-1.7\n", "unsupported_format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_format"),
        (b"\xef\xbb\xbf <?xml version='1.0'?><svg/>", "unsupported_format"),
        (b"\x00\x00\x00\x18ftypheic" + b"\x00" * 20, "unsupported_format"),
        (b"\x00" * 128 + b"DICM" + b"\x00" * 20, "unsupported_format"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\xff\xd8\xff\xe0garbage", "truncated"),
    ],
)
def test_what_is_no_image_is_refused(data: bytes, code: str) -> None:
    assert refusal(data) == code


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
def test_half_a_file_is_refused(file_format: str, share: float) -> None:
    data = encode(noise(), file_format)
    assert refusal(data[: int(len(data) * share)]) == "truncated"


def test_a_damaged_png_is_refused() -> None:
    data = bytearray(encode(noise()))
    data[len(data) // 2] ^= 0xFF
    assert refusal(bytes(data)) == "truncated"


def test_a_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    assert refusal(bomb) == "too_many_pixels"


def test_bounds_are_exact() -> None:
    data = encode(noise(300, 240))
    assert refusal(data, Limits(max_bytes=len(data) - 1)) == "too_many_bytes"
    assert refusal(data, Limits(max_pixels=300 * 240 - 1)) == "too_many_pixels"
    assert refusal(data, Limits(min_side=241)) == "too_small"
    exact = decode(data, Limits(max_bytes=len(data), max_pixels=300 * 240, min_side=240))
    assert exact.width == 300


def test_several_frames_are_refused() -> None:
    frames = [Image.fromarray(noise(seed=seed)) for seed in range(2)]
    for file_format in ("TIFF", "WEBP", "PNG"):
        assert refusal(encode(frames[0], file_format, save_all=True, append_images=frames[1:])) == "several_images"


def test_transparency_lies_on_white() -> None:
    rgba = np.dstack([noise(), np.zeros((460, 700), np.uint8)])
    assert (decode(encode(rgba)).pixels == 255).all()
    palette = Image.fromarray(noise()).quantize(16)
    palette.info["transparency"] = 0
    decoded = decode(encode(palette, transparency=0))
    assert (decoded.pixels[np.asarray(palette) == 0] == 255).all()


def test_palettes_and_grey_become_rgb() -> None:
    picture = Image.fromarray(noise())
    np.testing.assert_array_equal(
        decode(encode(picture.quantize(64))).pixels, np.asarray(picture.quantize(64).convert("RGB"))
    )
    grey = decode(encode(picture.convert("L"))).pixels
    assert (grey[..., 0] == grey[..., 2]).all()
    assert decode(encode(picture.convert("1"))).pixels.max() == 255


def test_cmyk_becomes_rgb() -> None:
    red = Image.new("CMYK", (300, 300), (0, 255, 255, 0))
    for file_format in ("JPEG", "TIFF"):
        pixels = decode(encode(red, file_format)).pixels
        assert pixels[..., 0].min() > 200
        assert pixels[..., 1:].max() < 60


def test_sixteen_bits_keep_the_high_byte() -> None:
    ramp = np.linspace(0, 65535, 300 * 300).reshape(300, 300).astype(np.uint16)
    for file_format in ("PNG", "TIFF"):
        decoded = decode(encode(Image.fromarray(ramp), file_format))
        np.testing.assert_array_equal(decoded.pixels[..., 1], (ramp >> 8).astype(np.uint8))


def test_floating_point_pixels_are_refused() -> None:
    assert refusal(encode(Image.fromarray(np.zeros((300, 300), np.float32)), "TIFF")) == "unsupported_pixels"


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    decoded = decode(encode(noise(), exif=exif))
    np.testing.assert_array_equal(decoded.pixels, np.rot90(noise(), -1))


def test_pixels_can_be_written_and_lie_in_one_piece(png: bytes) -> None:
    decoded: Decoded = decode(io.BytesIO(png))
    assert decoded.pixels.flags.c_contiguous
    assert decoded.pixels.flags.writeable


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_hostile_bytes_end_in_a_picture_or_a_refusal(file_format: str) -> None:
    """Damaged at random places of headers and data: never another exception, and the same file always ends the same."""
    random = np.random.default_rng(0)
    picture = Image.fromarray(noise(240, 230))
    exif = Image.Exif()
    exif[0x0112] = 3
    whole = encode(picture.quantize(32) if file_format == "BMP" else picture, file_format, exif=exif)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(random.integers(1, 8)):
            near_the_start = random.random() < 0.6
            data[random.integers(0, min(len(data), 400) if near_the_start else len(data))] = random.integers(0, 256)
        outcomes = set()
        for _ in range(2):
            try:
                outcomes.add(decode(bytes(data), Limits(max_pixels=1_000_000)).sha256)
            except DecodeError as error:
                outcomes.add(error.code)
        assert len(outcomes) == 1


def test_a_small_picture_in_a_huge_tile_is_refused() -> None:
    """A TIFF of 300 x 300 pixels whose one tile would take two gigabytes."""
    entries = [
        (256, 4, 1, 300), (257, 4, 1, 300), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1),
        (322, 4, 1, 25_600), (323, 4, 1, 25_600), (324, 4, 1, 8), (325, 4, 1, 20),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    tiff = b"II*\0" + struct.pack("<I", 28) + b"\0" * 20 + directory + struct.pack("<I", 0)
    assert refusal(tiff) == "too_many_pixels"


def test_bigtiff_is_named() -> None:
    assert refusal(b"II+\0" + b"\0" * 40) == "unsupported_format"
