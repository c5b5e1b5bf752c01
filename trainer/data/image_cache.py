"""Decoded images, kept on disk by content, so that a second run need not decode them again."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.imaging.decode import decode
from trainer.data.records import DataSetError, LabelledImage
from trainer.utils.files import write_atomically

Pixels = NDArray[np.uint8]

_ENTRY = re.compile(r"([0-9a-f]{64}) (\d+) (\d+)\n")


class PixelCache:
    """Remembers by a file's bytes what its pixels are: hash and size always, the pixels themselves when they are read.

    Nothing in it is ever wrong, only missing: entries are named by content and written completely or not at all.
    """

    def __init__(self, folder: Path | None) -> None:
        """Use a folder, made when it is first written to; None remembers nothing."""
        self._folder = folder

    def check(self, image: LabelledImage) -> LabelledImage:
        """The image with its pixels' hash, width and height.

        Raises:
            OSError: If the file cannot be read.
            DecodeError: If it is no image that we take.
        """
        known = self._known(image.path)
        entry = _ENTRY.fullmatch(known.read_text(encoding="ascii")) if known is not None and known.is_file() else None
        if entry is not None:
            return replace(image, sha256=entry[1], width=int(entry[2]), height=int(entry[3]))
        decoded = decode(image.path)
        height, width = decoded.pixels.shape[:2]
        if known is not None:
            line = f"{decoded.sha256} {width} {height}\n"
            write_atomically(known, lambda file: file.write(line.encode()), durable=False)
        return replace(image, sha256=decoded.sha256, width=width, height=height)

    def read(self, image: LabelledImage) -> Pixels:
        """The pixels of a checked image, RGB, of shape (height, width, 3).

        Raises:
            DataSetError: If the file has changed since it was checked.
        """
        kept = None if self._folder is None else self._folder / "pixels" / f"{image.sha256}.npy"
        if kept is not None:
            pixels = load_array(kept)
            if pixels is not None:
                return pixels.astype(np.uint8, copy=False)
        pixels = decode_pixels(image)
        if kept is not None:
            store_array(kept, pixels)
        return pixels

    def _known(self, path: Path) -> Path | None:
        if self._folder is None:
            return None
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return self._folder / "checked" / digest


def decode_pixels(image: LabelledImage) -> Pixels:
    """The pixels of one checked image, RGB, of shape (height, width, 3).

    Raises:
        DataSetError: If the file has changed since it was checked.
    """
    decoded = decode(image.path)
    if image.sha256 and decoded.sha256 != image.sha256:
        raise DataSetError([f"{image.path} has changed since the data set was read."])
    return decoded.pixels


def load_array(path: Path) -> NDArray[np.generic] | None:
    """An array that `store_array` wrote, or None where it is missing or damaged."""
    try:
        array: NDArray[np.generic] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array


def store_array(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array completely or not at all."""
    write_atomically(path, lambda file: np.save(file, array), durable=False)
