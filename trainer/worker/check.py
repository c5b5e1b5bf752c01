"""Check a data set by the rules of a training."""

from __future__ import annotations

import os
from pathlib import Path

from trainer.data import datasets
from trainer.data.image_cache import PixelCache
from trainer.data.records import DataSetError, LabelledImage, Records, read_records
from trainer.worker import archives
from trainer.worker.protocol import CheckedImage, CheckOrder, CheckResult


def check(order: CheckOrder) -> CheckResult:
    """Unpack the archive, if there is one, and decode every image.

    Raises:
        ArchiveError: Listing everything that is wrong with the archive.
        DataSetError: Listing everything that is wrong with the data set.
    """
    if order.archive is not None:
        archives.unpack(order.archive, order.source, order.bounds)
    records = read_records(order.source)
    outside = _paths_problems(records, order.source)
    if outside:  # files outside the data set are never opened
        raise DataSetError([*records.problems, *outside])
    data = datasets.load(order.source, smallest=order.smallest, cache=PixelCache(order.cache))
    return CheckResult(
        images=tuple(_describe(image, order.source) for image in data.images),
        notes=data.notes,
        fingerprint=data.fingerprint,
        synthetic=data.synthetic,
        bytes=sum(image.path.stat().st_size for image in data.images),
    )


def _paths_problems(records: Records, source: Path) -> list[str]:
    """Return a sentence for each file outside the data set and for each name that is not text."""
    root = source.resolve()
    problems = []
    for image in records.images:
        if not _is_text(image.path):
            problems.append(f"The name {image.path.name!a} is not valid UTF-8. Rename the file.")
        elif not image.path.resolve().is_relative_to(root):
            problems.append(f"{image.path} is outside the data set. Move the image into it.")
    return problems


def _is_text(path: Path) -> bool:
    try:
        return b"\0" not in str(path).encode()
    except UnicodeEncodeError:
        return False


def _describe(image: LabelledImage, source: Path) -> CheckedImage:
    return CheckedImage(
        path=Path(os.path.relpath(image.path, source)).as_posix(),
        sha256=image.sha256,
        label=image.label,
        patient=image.patient,
        subtype=image.subtype,
        slide=image.slide,
        magnification=image.magnification,
        whole=image.whole,
        width=image.width,
        height=image.height,
    )
