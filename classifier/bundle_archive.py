"""A bundle in one file: a zip that holds the bundle's two files and nothing else.

The rules for bundles; `classifier.utils.safe_zip` has the defences that every zip needs. No name in the zip becomes a
path. Weights are safetensors: a file that would have to be unpickled is refused without being opened.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from classifier.utils import safe_zip
from classifier.utils.messages import Message, gettext_noop
from classifier.utils.safe_zip import ArchiveError, printable

MAX_BYTES = 2 * 2**30
"""The maximum size of all files together, in bytes, unless a caller sets another one."""

_MAX_RATIO = 50
_ALWAYS_ALLOWED = _MAX_RATIO << 16
"""Unpacked bytes up to which the ratio does not matter."""

_MAX_LISTING_BYTES = 1 << 17
_MAX_DEPTH = 2
_CHUNK = 1 << 16
_PICKLE_SUFFIXES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}
_PICKLE_START = b"\x80"
_DATE = (1980, 1, 1, 0, 0, 0)


def write(file: IO[bytes], folder: Path, names: Sequence[str]) -> None:
    """Write files of a folder into a zip, uncompressed and without dates: the same files always give the same zip."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system = 3  # Unix, whatever the platform
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source, archive.open(info, "w") as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)


def check(file: IO[bytes], names: Sequence[str], *, max_bytes: int = MAX_BYTES) -> None:
    """Refuse a file that cannot be a bundle, by the zip's list of entries alone.

    Args:
        file: The zip, opened for reading in binary; it is left open.
        names: The two files that it must hold, side by side, at the top or in one folder.
        max_bytes: The maximum size of both files together.

    Raises:
        ArchiveError: If it is refused.
    """
    with _open(file) as archive:
        _members(archive, names, max_bytes)


def extract(file: IO[bytes], names: Sequence[str], folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Check a zip and write its two files into a folder.

    Raises:
        ArchiveError: If the zip is refused or damaged. Files may then be in the folder: the caller removes it.
    """
    damaged = gettext_noop("The zip is damaged: %(name)s cannot be read. Send it again.")
    with _open(file) as archive:
        targets = [(member, folder / name) for name, member in _members(archive, names, max_bytes).items()]
        safe_zip.extract(archive, targets, max_bytes=max_bytes, too_large=_too_large(max_bytes), damaged=damaged)
    for _member, path in targets:
        path.chmod(0o644)


def _open(file: IO[bytes]) -> zipfile.ZipFile:
    file.seek(0)
    not_a_zip = gettext_noop("The file is not a zip, or it is damaged. Send a bundle as one zip.")
    if file.read(1) == _PICKLE_START:
        not_a_zip = gettext_noop(
            "The file is a pickle, not a zip. Weights are read from safetensors only, never unpickled: a "
            "pickle could run any program."
        )
    return safe_zip.open_zip(
        file,
        max_listing_bytes=_MAX_LISTING_BYTES,
        too_long=Message(gettext_noop("The zip holds far more than one bundle. Pack one bundle's two files.")),
        not_a_zip=Message(not_a_zip),
    )


def _members(archive: zipfile.ZipFile, names: Sequence[str], max_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Return the wanted entries by name, after all checks that need the list of entries only."""
    wanted = dict(zip(("first", "second"), names, strict=True))
    files = [member for member in archive.infolist() if not member.is_dir()]
    for member in files:
        _check_path(member.filename)
    for member in files:
        _check_suffix(member.filename)
    found = {PurePosixPath(member.filename).name: member for member in files}
    others = [member.filename for member in files if PurePosixPath(member.filename).name not in names]
    if others:
        sentence = gettext_noop("The zip holds %(name)s. It may hold %(first)s and %(second)s and nothing else.")
        raise _refusal(sentence, name=printable(others[0]), **wanted)
    if len(found) < len(files):
        raise _refusal(
            gettext_noop("The zip holds a file twice. It must hold %(first)s and %(second)s, each once."), **wanted
        )
    missing = [name for name in names if name not in found]
    if missing:
        raise _refusal(
            gettext_noop("The zip holds no %(name)s. It must hold %(first)s and %(second)s."), name=missing[0], **wanted
        )
    if len({PurePosixPath(member.filename).parent for member in files}) > 1:
        raise _refusal(gettext_noop("%(first)s and %(second)s must lie side by side in the zip."), **wanted)
    for member in files:
        _check_content(member)
    if sum(member.file_size for member in files) > max_bytes:
        raise ArchiveError(_too_large(max_bytes))
    return {name: found[name] for name in names}


def _check_path(name: str) -> None:
    if safe_zip.leads_outside(name) or ":" in name or len(PurePosixPath(name).parts) > _MAX_DEPTH:
        raise _refusal(
            gettext_noop(
                "The zip holds the path %(name)s. A bundle's files lie at the top of the zip or in one folder."
            ),
            name=printable(name),
        )


def _check_suffix(name: str) -> None:
    if PurePosixPath(name).suffix.lower() in _PICKLE_SUFFIXES:
        raise _refusal(
            gettext_noop(
                "The zip holds a pickle, %(name)s. Weights are read from safetensors only, never unpickled: a "
                "pickle could run any program."
            ),
            name=printable(name),
        )


def _check_content(member: zipfile.ZipInfo) -> None:
    if safe_zip.is_encrypted(member):
        raise _refusal(gettext_noop("The zip is encrypted. Pack the bundle without a password."))
    if not safe_zip.is_readable(member):
        raise _refusal(
            gettext_noop("The zip is compressed in a way that is not read here. Pack it as an ordinary zip.")
        )
    if safe_zip.grows_too_much(
        member.file_size, member.compress_size, max_ratio=_MAX_RATIO, always_allowed=_ALWAYS_ALLOWED
    ):
        raise _refusal(
            gettext_noop("%(name)s would grow more than %(times)d times when unpacked: no bundle does."),
            name=printable(member.filename),
            times=_MAX_RATIO,
        )


def _too_large(max_bytes: int) -> Message:
    return Message(
        gettext_noop("The bundle is larger than %(limit)d MB when unpacked, which is the limit."),
        limit=max_bytes // 2**20,
    )


def _refusal(template: str, **values: object) -> ArchiveError:
    return ArchiveError(Message(template, **values))
