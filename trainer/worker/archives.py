"""Data sets that come as a zip from people: bounded by what really comes out, and never written beside their place."""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from classifier.bundle_archive import ENCRYPTED, METHODS, Sparing, shown
from trainer.data.records import CLASSES, MANIFEST_NAME
from trainer.errors import ProblemsError
from trainer.utils.progress import Bar, Stage
from trainer.worker.protocol import ArchiveBounds

_CHUNK = 1 << 20
_RATIO_FROM = 1 << 20  # smaller members may shrink as they like: a CSV file does
_LONGEST_NAME, _LONGEST_PATH = 255, 1000  # bytes, as file systems have it
_LISTED_BYTES = 250  # of the directory for one member at the most, about
_MOST_LISTED = 20
_RUBBISH = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_DRIVE = re.compile("[A-Za-z]:")


class ArchiveError(ProblemsError):
    """An archive that is not unpacked."""


def inspect(file: Path | IO[bytes], bounds: ArchiveBounds) -> list[str]:
    """Judge a zip by its directory alone, without unpacking anything.

    Args:
        file: A path, or a file opened for reading in binary, which is left open and at its start.
        bounds: How much it may hold.

    Returns:
        What is wrong, one sentence each; none where it may be unpacked.
    """
    try:
        with _opened(file, bounds) as (archive, size):
            return _problems(archive, size, bounds)
    except ArchiveError as error:
        return error.problems


def unpacked_bytes(file: Path | IO[bytes]) -> int:
    """What the files of a zip say that they take together once unpacked; 0 where it is no zip.

    Args:
        file: A path, or a file opened for reading in binary, which is left open and at its start.
    """
    try:
        with _opened(file, ArchiveBounds()) as (archive, _size):
            return _unpacked_bytes(archive)
    except ArchiveError:
        return 0


def unpack(file: Path, folder: Path, bounds: ArchiveBounds) -> None:
    """Unpack a data set: complete or not at all.

    What surrounds the data set in the archive is left away, so that the folder itself holds the `manifest.csv`, or the
    BreakHis tree; so are hidden files and what operating systems leave in archives.

    Args:
        file: The zip.
        folder: Where the data set shall lie; one that holds something already is left as it is, for it was written
            completely.
        bounds: How much the zip may hold.

    Raises:
        ArchiveError: Listing everything that is wrong with the zip.
        OSError: If it cannot be read, or there is no room.
    """
    if folder.is_dir() and any(folder.iterdir()):
        return
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        with _opened(file, bounds) as (archive, size):
            problems = _problems(archive, size, bounds)
            if problems:
                raise ArchiveError(problems)
            _extract(archive, draft, bounds)
        _data_set(draft).rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _opened(file: Path | IO[bytes], bounds: ArchiveBounds) -> Iterator[tuple[zipfile.ZipFile, int]]:
    """The zip, and its size in bytes."""
    if isinstance(file, Path):
        with file.open("rb") as opened, _opened(opened, bounds) as both:
            yield both
        return
    size = file.seek(0, 2)
    file.seek(0)
    try:
        endless = ArchiveError(["The archive's list of files is far longer than any data set's."])
        sparing: Any = Sparing(file, max(_CHUNK, bounds.max_members * _LISTED_BYTES), endless)
        archive = zipfile.ZipFile(sparing)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError) as error:
        if isinstance(error, ArchiveError):
            raise
        raise ArchiveError(["This is not a zip archive, or it is damaged. Make it again and send it again."]) from error
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
        most = f"{bounds.max_members:,}"
        return [f"The archive holds {len(members):,} files and folders, more than the {most} allowed. Split it."]
    files = [member for member in members if not member.is_dir()]
    found = [sentence for member in members for sentence in _member_problems(member, bounds)]
    found += _name_problems(members)
    unpacked = _unpacked_bytes(archive)
    if unpacked > bounds.max_bytes:
        found.append(
            f"The archive would unpack to {_megabytes(unpacked)}, more than the {_megabytes(bounds.max_bytes)} allowed."
        )
    if unpacked > max(_RATIO_FROM, bounds.max_ratio * size):
        found.append(
            f"The archive would grow {unpacked / size:,.0f} times when unpacked. Images do not: it looks like a bomb."
        )
    if not any(_wanted(member) for member in files):
        found.append("The archive holds no files.")
    if len(found) > _MOST_LISTED:
        found[_MOST_LISTED:] = [f"And {len(found) - _MOST_LISTED:,} problems more."]
    return found


def _member_problems(member: zipfile.ZipInfo, bounds: ArchiveBounds) -> Iterator[str]:
    raw, name = member.orig_filename, shown(member.orig_filename)
    path = PurePosixPath(raw)
    if path.is_absolute() or ".." in path.parts or "\\" in raw or "\0" in raw or _DRIVE.match(raw):
        yield f"The archive holds the path {name}, which may lead out of its folder."
    elif not path.parts and not member.is_dir():
        yield "The archive holds a file without a name."
    elif len(raw.encode()) > _LONGEST_PATH or any(len(part.encode()) > _LONGEST_NAME for part in path.parts):
        yield f"The archive holds a name that is too long: {name}."
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        yield f"{name} in the archive is a link or a device, not a file."
    if member.flag_bits & ENCRYPTED:
        yield f"{name} in the archive is encrypted. Make the archive without a password."
    elif member.compress_type not in METHODS:
        yield f"{name} is compressed in a way that is not read here. Make an ordinary zip."
    if member.file_size > max(_RATIO_FROM, bounds.max_ratio * member.compress_size):
        times = member.file_size / max(1, member.compress_size)
        yield f"{name} would grow {times:,.0f} times when unpacked. Images do not: it looks like a bomb."


def _name_problems(members: list[zipfile.ZipInfo]) -> Iterator[str]:
    """Of names that get in each other's way."""
    files = Counter(PurePosixPath(member.filename) for member in members if not member.is_dir())
    yield from (f"{shown(str(path))} is in the archive {count} times." for path, count in files.items() if count > 1)
    folders = {parent for member in members for parent in PurePosixPath(member.filename).parents}
    folders |= {PurePosixPath(member.filename) for member in members if member.is_dir()}
    yield from (f"{shown(str(path))} is both a file and a folder in the archive." for path in files if path in folders)


def _wanted(member: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(member.filename).parts
    return not any(part in _RUBBISH or part.startswith(".") for part in parts)


def _extract(archive: zipfile.ZipFile, folder: Path, bounds: ArchiveBounds) -> None:
    members = [member for member in archive.infolist() if not member.is_dir() and _wanted(member)]
    left = bounds.max_bytes
    for member in Bar(members, stage=Stage.UNPACKING, unit="file", disable=True):
        path = folder.joinpath(*PurePosixPath(member.filename).parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with archive.open(member) as packed, path.open("xb") as target:
                while chunk := packed.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:  # the directory lied
                        raise ArchiveError([f"The archive unpacks to more than {_megabytes(bounds.max_bytes)}."])
                    target.write(chunk)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise ArchiveError(
                [f"{shown(member.filename)} in the archive is damaged. Make the archive again and send it again."]
            ) from error


def _data_set(folder: Path) -> Path:
    """Where in a folder the data set lies."""
    manifests = sorted(folder.rglob(MANIFEST_NAME), key=lambda path: (len(path.parts), path))
    if manifests:
        highest = [path for path in manifests if len(path.parts) == len(manifests[0].parts)]
        if len(highest) > 1:
            listed = ", ".join(path.relative_to(folder).as_posix() for path in highest)
            raise ArchiveError([f"The archive holds several manifests, of which none is above the others: {listed}."])
        return manifests[0].parent
    while True:
        inside = list(folder.iterdir())
        if len(inside) != 1 or not inside[0].is_dir() or inside[0].name.lower() in CLASSES:
            return folder
        folder = inside[0]


def _megabytes(count: float) -> str:
    return f"{count / 2**20:,.0f} MB"
