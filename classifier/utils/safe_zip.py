"""Defences against hostile zip files, shared by bundles and data sets.

A zip from a user may lie in every field: it may list millions of entries, name paths outside its folder, promise fewer
bytes than it unpacks to, or ask for compression methods that need gigabytes of memory. The functions here detect that;
each caller combines them with rules of its own and words the messages.
"""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from classifier.utils.messages import Message

_CHUNK = 1 << 16
"""Bytes that are copied at a time; less than any `max_listing_bytes`, which bounds these reads as well."""

_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""The accepted compression methods: LZMA and others may allocate gigabytes before the first byte."""

_ENCRYPTED_FLAG = 0x1
_DRIVE = re.compile("[A-Za-z]:")
_LONGEST_SHOWN = 80

_NOT_A_ZIP = (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError, EOFError, OSError)
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class ArchiveError(ValueError):
    """A zip that is refused; no message names a path of this machine.

    Attributes:
        messages: Everything that is wrong, one message each.
    """

    def __init__(self, *messages: Message) -> None:
        """Store the messages; the text of the error has one per line."""
        super().__init__("\n".join(map(str, messages)))
        self.messages = messages

    @property
    def problems(self) -> list[str]:
        """The messages as English sentences."""
        return [str(message) for message in self.messages]


class _BoundedReads:
    """A file that refuses large reads.

    `zipfile` reads the whole list of entries in one call, however long it is.
    """

    def __init__(self, file: IO[bytes], max_read: int, refusal: Message) -> None:
        self._file, self._max_read, self._refusal = file, max_read, refusal

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; raise ArchiveError if more than `max_read` are wanted and the file has them."""
        data = self._file.read(size if 0 <= size <= self._max_read else self._max_read + 1)
        if len(data) > self._max_read:
            raise ArchiveError(self._refusal)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def open_zip(file: IO[bytes], *, max_listing_bytes: int, too_long: Message, not_a_zip: Message) -> zipfile.ZipFile:
    """Open a zip without reading more than a bounded list of entries.

    Args:
        file: A file opened for reading in binary.
        max_listing_bytes: The maximum size of the list of entries.
        too_long: The refusal of a longer list.
        not_a_zip: The refusal of a file that is not a zip, or is damaged.

    Raises:
        ArchiveError: If the zip is refused.
    """
    bounded: Any = _BoundedReads(file, max_listing_bytes, too_long)
    try:
        return zipfile.ZipFile(bounded)
    except ArchiveError:
        raise
    except _NOT_A_ZIP as error:
        raise ArchiveError(not_a_zip) from error


def leads_outside(name: str) -> bool:
    """Whether an entry's name may denote a path outside the folder that the zip is unpacked into."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or bool(_DRIVE.match(name))


def is_encrypted(member: zipfile.ZipInfo) -> bool:
    """Whether an entry needs a password."""
    return bool(member.flag_bits & _ENCRYPTED_FLAG)


def is_readable(member: zipfile.ZipInfo) -> bool:
    """Whether an entry uses an accepted compression method."""
    return member.compress_type in _METHODS


def is_special(member: zipfile.ZipInfo) -> bool:
    """Whether an entry is a symbolic link or a device instead of a file or folder."""
    return stat.S_IFMT(member.external_attr >> 16) not in {0, stat.S_IFREG, stat.S_IFDIR}


def grows_too_much(unpacked: int, packed: int, *, max_ratio: float, always_allowed: int) -> bool:
    """Whether data that claims to unpack to `unpacked` bytes looks like a decompression bomb.

    Args:
        unpacked: The size after unpacking, in bytes.
        packed: The size in the zip, in bytes.
        max_ratio: The maximum of unpacked over packed bytes.
        always_allowed: Unpacked bytes up to which the ratio does not matter: small texts compress very well.
    """
    return unpacked > max(always_allowed, max_ratio * packed)


def extract(
    archive: zipfile.ZipFile,
    targets: Iterable[tuple[zipfile.ZipInfo, Path]],
    *,
    max_bytes: int,
    too_large: Message,
    damaged: str,
) -> None:
    """Unpack entries into new files; the bound counts the bytes that come out, whatever the list of entries claims.

    Args:
        archive: The zip, whose entries have been checked.
        targets: Each entry with the file to create for it; missing folders are created.
        max_bytes: The maximum number of bytes of all files together.
        too_large: The refusal of a zip that unpacks to more.
        damaged: The template of the refusal of a damaged entry; its placeholder `name` is the entry's name.

    Raises:
        ArchiveError: If the zip is refused. Files written so far remain: the caller removes them.
    """
    remaining = max_bytes
    for member, path in targets:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with archive.open(member) as source, path.open("xb") as target:
                while chunk := source.read(_CHUNK):
                    remaining -= len(chunk)
                    if remaining < 0:
                        raise ArchiveError(too_large)
                    target.write(chunk)
        except _DAMAGED as error:
            raise ArchiveError(Message(damaged, name=printable(member.filename))) from error


def printable(name: str) -> str:
    """Return an entry's name in quotation marks, shortened, with control characters replaced."""
    text = "".join(letter if letter.isprintable() else "?" for letter in name)
    return f"“{text[:_LONGEST_SHOWN]}{'…' if len(text) > _LONGEST_SHOWN else ''}”"
