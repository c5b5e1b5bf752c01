"""Data sets that users upload as one zip: checked as a whole, then unpacked completely or not at all.

The rules for data sets; `classifier.utils.safe_zip` has the defences that every zip needs.
"""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from classifier.utils import safe_zip
from classifier.utils.messages import Message
from classifier.utils.safe_zip import ArchiveError, printable
from trainer.data.records import CLASSES, MANIFEST_NAME
from trainer.utils.progress import ProgressBar, Stage
from trainer.worker.protocol import ArchiveBounds

_ALWAYS_ALLOWED = 1 << 20
"""Unpacked bytes up to which the ratio does not matter: a CSV file compresses very well."""

_MIN_LISTING_BYTES = 1 << 20
_BYTES_PER_ENTRY = 250
"""About the maximum size of one entry in the zip's list of entries."""

_LONGEST_NAME, _LONGEST_PATH = 255, 1000
"""The limits of file systems, in bytes."""

_MAX_LISTED = 20
_IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}


def inspect(file: Path | IO[bytes], bounds: ArchiveBounds) -> list[str]:
    """Check a zip by its list of entries alone, without unpacking anything.

    Args:
        file: A path, or a file opened for reading in binary, which is left open and at its start.
        bounds: How much the zip may hold.

    Returns:
        Everything that is wrong, one sentence each; empty if the zip may be unpacked.
    """
    try:
        with _opened(file, bounds) as (archive, size):
            return _problems(archive, size, bounds)
    except ArchiveError as error:
        return error.problems


def unpacked_bytes(file: Path | IO[bytes]) -> int:
    """Return the total size that a zip claims for its unpacked files, in bytes; 0 for a file that is not a zip.

    Args:
        file: A path, or a file opened for reading in binary, which is left open and at its start.
    """
    try:
        with _opened(file, ArchiveBounds()) as (archive, _size):
            return _unpacked_bytes(archive)
    except ArchiveError:
        return 0


def unpack(file: Path, folder: Path, bounds: ArchiveBounds) -> None:
    """Unpack a data set, completely or not at all.

    Folders of the zip above the data set are dropped, so that `folder` itself holds the `manifest.csv` or the BreakHis
    tree. Hidden files and files that operating systems add to zips are not unpacked.

    Args:
        file: The zip.
        folder: The data set's folder. If it exists and is not empty, it was written completely before and is kept.
        bounds: How much the zip may hold.

    Raises:
        ArchiveError: Listing everything that is wrong with the zip.
        OSError: If the zip cannot be read, or the disk is full.
    """
    if folder.is_dir() and any(folder.iterdir()):
        return
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with _opened(file, bounds) as (archive, size):
            problems = _problems(archive, size, bounds)
            if problems:
                raise ArchiveError(*map(Message, problems))
            _extract(archive, draft, bounds)
        _find_data_set(draft).rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _opened(file: Path | IO[bytes], bounds: ArchiveBounds) -> Iterator[tuple[zipfile.ZipFile, int]]:
    """Yield the zip and its size in bytes; leave an open file at its start."""
    if isinstance(file, Path):
        with file.open("rb") as opened, _opened(opened, bounds) as archive_and_size:
            yield archive_and_size
        return
    size = file.seek(0, 2)
    file.seek(0)
    archive = safe_zip.open_zip(
        file,
        max_listing_bytes=max(_MIN_LISTING_BYTES, bounds.max_members * _BYTES_PER_ENTRY),
        too_long=Message("The archive's list of files is far longer than any data set's."),
        not_a_zip=Message("This is not a zip archive, or it is damaged. Make it again and send it again."),
    )
    try:
        yield archive, size
    finally:
        archive.close()
        file.seek(0)


def _unpacked_bytes(archive: zipfile.ZipFile) -> int:
    return sum(member.file_size for member in archive.infolist() if not member.is_dir())


def _problems(archive: zipfile.ZipFile, size: int, bounds: ArchiveBounds) -> list[str]:
    members = archive.infolist()
    if len(members) > bounds.max_members:
        limit = f"{bounds.max_members:,}"
        return [f"The archive holds {len(members):,} files and folders, more than the {limit} allowed. Split it."]
    files = [member for member in members if not member.is_dir()]
    found = [sentence for member in members for sentence in _member_problems(member, bounds)]
    found += _name_conflicts(members)
    unpacked = _unpacked_bytes(archive)
    if unpacked > bounds.max_bytes:
        found.append(
            f"The archive would unpack to {_megabytes(unpacked)}, more than the {_megabytes(bounds.max_bytes)} allowed."
        )
    if safe_zip.grows_too_much(unpacked, size, max_ratio=bounds.max_ratio, always_allowed=_ALWAYS_ALLOWED):
        found.append(
            f"The archive would grow {unpacked / size:,.0f} times when unpacked. Images do not: it looks like a bomb."
        )
    if not any(_is_wanted(member) for member in files):
        found.append("The archive holds no files.")
    if len(found) > _MAX_LISTED:
        found[_MAX_LISTED:] = [f"And {len(found) - _MAX_LISTED:,} more problems."]
    return found


def _member_problems(member: zipfile.ZipInfo, bounds: ArchiveBounds) -> Iterator[str]:
    raw, name = member.orig_filename, printable(member.orig_filename)
    path = PurePosixPath(raw)
    if safe_zip.leads_outside(raw):
        yield f"The archive holds the path {name}, which may lead out of its folder."
    elif not path.parts and not member.is_dir():
        yield "The archive holds a file without a name."
    elif len(raw.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in path.parts):
        yield f"The archive holds a name that is too long: {name}."
    if safe_zip.is_special(member):
        yield f"{name} in the archive is a link or a device, not a file."
    if safe_zip.is_encrypted(member):
        yield f"{name} in the archive is encrypted. Make the archive without a password."
    elif not safe_zip.is_readable(member):
        yield f"{name} is compressed in a way that is not read here. Make an ordinary zip."
    size, packed = member.file_size, member.compress_size
    if safe_zip.grows_too_much(size, packed, max_ratio=bounds.max_ratio, always_allowed=_ALWAYS_ALLOWED):
        times = size / max(1, packed)
        yield f"{name} would grow {times:,.0f} times when unpacked. Images do not: it looks like a bomb."


def _name_conflicts(members: list[zipfile.ZipInfo]) -> Iterator[str]:
    """Yield a sentence for each name that occurs twice, or both as a file and as a folder."""
    files = Counter(PurePosixPath(member.filename) for member in members if not member.is_dir())
    yield from (
        f"{printable(str(path))} is in the archive {count} times." for path, count in files.items() if count > 1
    )
    folders = {parent for member in members for parent in PurePosixPath(member.filename).parents}
    folders |= {PurePosixPath(member.filename) for member in members if member.is_dir()}
    yield from (
        f"{printable(str(path))} is both a file and a folder in the archive." for path in files if path in folders
    )


def _is_wanted(member: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(member.filename).parts
    return not any(part in _IGNORED or part.startswith(".") for part in parts)


def _extract(archive: zipfile.ZipFile, folder: Path, bounds: ArchiveBounds) -> None:
    members = [member for member in archive.infolist() if not member.is_dir() and _is_wanted(member)]
    safe_zip.extract(
        archive,
        (
            (member, folder.joinpath(*PurePosixPath(member.filename).parts))
            for member in ProgressBar(members, stage=Stage.UNPACKING, unit="file", disable=True)
        ),
        max_bytes=bounds.max_bytes,
        too_large=Message(f"The archive unpacks to more than {_megabytes(bounds.max_bytes)}."),
        damaged="%(name)s in the archive is damaged. Make the archive again and send it again.",
    )


def _find_data_set(folder: Path) -> Path:
    """Return the folder within an unpacked zip that holds the manifest or the BreakHis tree."""
    manifests = sorted(folder.rglob(MANIFEST_NAME), key=lambda path: (len(path.parts), path))
    if manifests:
        highest = [path for path in manifests if len(path.parts) == len(manifests[0].parts)]
        if len(highest) > 1:
            listed = ", ".join(path.relative_to(folder).as_posix() for path in highest)
            raise ArchiveError(
                Message(f"The archive holds several manifests, none of which is above the others: {listed}.")
            )
        return manifests[0].parent
    while True:
        children = list(folder.iterdir())
        if len(children) != 1 or not children[0].is_dir() or children[0].name.lower() in CLASSES:
            return folder
        folder = children[0]


def _megabytes(count: float) -> str:
    return f"{count / 2**20:,.0f} MB"
