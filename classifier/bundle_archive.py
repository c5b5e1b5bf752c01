"""A bundle's two files in one: a zip that holds them and nothing else.

What is unpacked comes from people: it is bounded by the bytes that really come out, and no name in the zip becomes a
path. Weights are safetensors; a file that would have to be unpickled is refused without being opened.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from classifier.imaging.decode import gettext_noop

MAX_BYTES = 2 * 2**30
"""Of all files together, unless a caller says otherwise."""

_MAX_RATIO = 50
_MOST_AT_ONCE = 1 << 17
_CHUNK = 1 << 16
_PICKLES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
"""Of compression: LZMA and others may ask for gigabytes before the first byte."""
ENCRYPTED = 0x1
"""A member's flag."""
_DATE = (1980, 1, 1, 0, 0, 0)


class ArchiveError(ValueError):
    """A zip that is not taken; the message says why and names no path of this machine.

    Attributes:
        template: The sentence as a `%`-format, so that it can be translated.
        values: What the template names.
    """

    def __init__(self, template: str, **values: object) -> None:
        """Keep what the sentence is made of."""
        super().__init__(template % values)
        self.template = template
        self.values = values


class Sparing:
    """A file of which little is read at once: `zipfile` reads a zip's list of names at once, however long it is."""

    def __init__(self, file: IO[bytes], most: int, refusal: Exception) -> None:
        """Read at most so many bytes at once; raise the refusal where somebody wants more and the file has it."""
        self._file, self._most, self._refusal = file, most, refusal

    def read(self, size: int = -1) -> bytes:
        """Bytes, or the refusal."""
        data = self._file.read(size if 0 <= size <= self._most else self._most + 1)
        if len(data) > self._most:
            raise self._refusal
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def write(file: IO[bytes], folder: Path, names: Sequence[str]) -> None:
    """Write files of a folder into a zip, uncompressed and undated: the same files always make the same zip."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3  # Unix, wherever this runs
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source, archive.open(info, "w") as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)


def check(file: IO[bytes], names: Sequence[str], *, max_bytes: int = MAX_BYTES) -> None:
    """Read a zip's list of names alone, and refuse what is no bundle by it.

    Args:
        file: The zip, opened for reading in binary; it is left open.
        names: The two files that it must hold, in one folder at most.
        max_bytes: Of all files together.

    Raises:
        ArchiveError: If it is refused.
    """
    with _opened(file) as archive:
        _members(archive, names, max_bytes)


def extract(file: IO[bytes], names: Sequence[str], folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Write the files of a zip into a folder, after `check`.

    Raises:
        ArchiveError: If the zip is refused or damaged. Files may then be in the folder: the caller removes it.
    """
    with _opened(file) as archive:
        left = max_bytes
        for name, member in _members(archive, names, max_bytes).items():
            with archive.open(member) as source, (folder / name).open("xb") as target:
                try:
                    while chunk := source.read(_CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            raise _too_large(max_bytes)
                        target.write(chunk)
                except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                    raise ArchiveError(
                        gettext_noop("The zip is damaged: %(name)s cannot be read. Send it again."), name=name
                    ) from error
            (folder / name).chmod(0o644)


def _opened(file: IO[bytes]) -> zipfile.ZipFile:
    endless = ArchiveError(gettext_noop("The zip holds far more than one bundle. Pack one bundle's two files."))
    sparing: Any = Sparing(file, _MOST_AT_ONCE, endless)
    try:
        return zipfile.ZipFile(sparing)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, OSError, ValueError) as error:
        if isinstance(error, ArchiveError):
            raise
        file.seek(0)
        if file.read(1) == b"\x80":
            raise ArchiveError(
                gettext_noop(
                    "The file is a pickle, not a zip. Weights are read from safetensors only, never unpickled: a "
                    "pickle could run any program."
                )
            ) from error
        raise ArchiveError(
            gettext_noop("The file is not a zip, or it is damaged. Send a bundle as one zip.")
        ) from error


def _members(archive: zipfile.ZipFile, names: Sequence[str], max_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """The wanted members by name, after everything that the list of names can tell was checked."""
    wanted = dict(zip(("first", "second"), names, strict=True))
    files = [member for member in archive.infolist() if not member.is_dir()]
    for member in files:
        _check_path(member.filename)
    for member in files:
        if PurePosixPath(member.filename).suffix.lower() in _PICKLES:
            raise ArchiveError(
                gettext_noop(
                    "The zip holds a pickle, %(name)s. Weights are read from safetensors only, never unpickled: a "
                    "pickle could run any program."
                ),
                name=shown(member.filename),
            )
    found = {PurePosixPath(member.filename).name: member for member in files}
    others = [member.filename for member in files if PurePosixPath(member.filename).name not in names]
    if others:
        sentence = gettext_noop("The zip holds %(name)s. It may hold %(first)s and %(second)s and nothing else.")
        raise ArchiveError(sentence, name=shown(others[0]), **wanted)
    if len(found) < len(files):
        raise ArchiveError(
            gettext_noop("The zip holds a file twice. It must hold %(first)s and %(second)s, each once."), **wanted
        )
    missing = [name for name in names if name not in found]
    if missing:
        raise ArchiveError(
            gettext_noop("The zip holds no %(name)s. It must hold %(first)s and %(second)s."), name=missing[0], **wanted
        )
    if len({PurePosixPath(member.filename).parent for member in files}) > 1:
        raise ArchiveError(gettext_noop("%(first)s and %(second)s must lie side by side in the zip."), **wanted)
    for member in files:
        _check_content(member)
    if sum(member.file_size for member in files) > max_bytes:
        raise _too_large(max_bytes)
    return {name: found[name] for name in names}


def _check_path(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or len(path.parts) > 2:  # noqa: PLR2004
        raise ArchiveError(
            gettext_noop(
                "The zip holds the path %(name)s. A bundle's files lie at the top of the zip or in one folder."
            ),
            name=shown(name),
        )


def _check_content(member: zipfile.ZipInfo) -> None:
    if member.flag_bits & ENCRYPTED:
        raise ArchiveError(gettext_noop("The zip is encrypted. Pack the bundle without a password."))
    if member.compress_type not in METHODS:
        raise ArchiveError(
            gettext_noop("The zip is compressed in a way that is not read here. Pack it as an ordinary zip.")
        )
    if member.file_size > _MAX_RATIO * max(member.compress_size, _CHUNK):
        raise ArchiveError(
            gettext_noop("%(name)s would grow more than %(times)d times when unpacked: no bundle does."),
            name=shown(member.filename),
            times=_MAX_RATIO,
        )


def _too_large(max_bytes: int) -> ArchiveError:
    return ArchiveError(
        gettext_noop("The bundle is larger than %(limit)d MB when unpacked, which is the limit."),
        limit=max_bytes // 2**20,
    )


def shown(name: str) -> str:
    """A name from a zip, short and printable."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return f"“{printable[:80]}{'…' if len(printable) > 80 else ''}”"  # noqa: PLR2004
