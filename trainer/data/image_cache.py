"""A cache of decoded images on disk, keyed by content, so that later runs need not decode them again."""

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
    """A cache from the bytes of a file to the hash and size of its image, and to its pixels once they have been read.

    Entries are keyed by content and written completely or not at all, so they can be missing but never wrong.
    """

    def __init__(self, folder: Path | None) -> None:
        """Store the folder, which is created at the first write; None disables the cache."""
        self._folder = folder

    def check(self, image: LabelledImage) -> LabelledImage:
        """Return the record with the hash, width and height of the image.

        Raises:
            OSError: If the file cannot be read.
            DecodeError: If the file is not an accepted image.
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
        """Return the pixels of a checked image, RGB, of shape (height, width, 3).

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
    """Decode one checked image: RGB, of shape (height, width, 3).

    Raises:
        DataSetError: If the file has changed since it was checked.
    """
    decoded = decode(image.path)
    if image.sha256 and decoded.sha256 != image.sha256:
        raise DataSetError([f"{image.path} has changed since the data set was read."])
    return decoded.pixels


def load_array(path: Path) -> NDArray[np.generic] | None:
    """Return an array that `store_array` wrote; None if the file is missing or damaged."""
    try:
        array: NDArray[np.generic] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array


def store_array(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array completely or not at all."""
    write_atomically(path, lambda file: np.save(file, array), durable=False)
