"""Failures of orders: a code, and a message that says what to do."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from classifier.utils.messages import gettext_noop
from classifier.utils.safe_zip import ArchiveError
from trainer.data.records import DataSetError
from trainer.errors import OptionsError, ProblemsError
from trainer.worker.protocol import Failed, FailureCode

_MEMORY = gettext_noop(
    "There is not enough memory. Choose a smaller batch size, a smaller network, or the frozen mode, or train "
    "on a machine with more memory."
)
_DISK = gettext_noop("The disk is full. Free some space, then start this again: finished work is kept.")
_FOREIGN_PATH = re.compile(r"(?<![\w.:/])/(?:[^\s/'\"“”,;:]+/)+(?=[^\s/])")
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")

_CODES: dict[str, FailureCode] = {
    "FloatingPointError": "diverged",
    "BundleError": "bad_bundle",
    "WeightsUnavailableError": "weights_unavailable",  # by name, because its module imports PyTorch
}
"""The codes of errors whose message is meant for users."""


class DataChangedError(ProblemsError):
    """A data set that has changed since it was checked."""


class FileGoneError(Exception):
    """Files of the data set are missing."""

    def __init__(self, paths: list[Path]) -> None:
        """Store the missing files."""
        super().__init__(f"{paths[0]} is missing." if len(paths) == 1 else f"{len(paths)} files are missing.")
        self.paths = paths


_PROBLEMS: dict[type[ProblemsError | ArchiveError], tuple[FailureCode, str]] = {
    ArchiveError: (
        "bad_archive",
        gettext_noop("The archive cannot be used. Fix the listed problems and upload it again."),
    ),
    DataSetError: (
        "data_set_problems",
        gettext_noop("The data set cannot be used. Fix the listed problems, or choose other options."),
    ),
    OptionsError: ("bad_options", gettext_noop("These options cannot be used. Choose others.")),
    DataChangedError: (
        "data_changed",
        gettext_noop("The data set has changed since it was checked. Create a new version of it."),
    ),
}
"""The codes and messages of errors that list everything that is wrong."""


@dataclass(frozen=True)
class Names:
    """Names that replace the paths of this machine in messages.

    Attributes:
        places: Folders and files with their names; files within a folder are named by their relative path.
    """

    places: Mapping[Path, str]

    def apply(self, sentence: str) -> str:
        """Return the sentence without absolute paths."""
        longest_first = sorted(self.places.items(), key=lambda item: -len(str(item[0])))
        for place, name in longest_first:
            sentence = sentence.replace(f"{place}/", "").replace(str(place), name)
        return _FOREIGN_PATH.sub("", sentence)


def failure(error: Exception, names: Names) -> Failed:
    """Return the failure that reports an error to the user."""
    code, message, details = _describe(error)
    return Failed(code=code, message=names.apply(message), details=tuple(map(names.apply, details)))


def _describe(error: Exception) -> tuple[FailureCode, str, list[str]]:
    if is_out_of_memory(error):
        return "out_of_memory", _MEMORY, []
    if _is_disk_full(error):
        return "disk_full", _DISK, []
    if isinstance(error, ProblemsError | ArchiveError) and type(error) in _PROBLEMS:
        return *_PROBLEMS[type(error)], error.problems
    if isinstance(error, ValidationError):
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        return *_PROBLEMS[OptionsError], problems
    if isinstance(error, FileNotFoundError) and error.filename:
        error = FileGoneError([Path(error.filename)])
    if isinstance(error, FileGoneError):
        message = f"{error} Restore the missing files, or create a new version of the data set."
        return "file_gone", message, [f"{path} is missing." for path in error.paths]
    return _CODES.get(type(error).__name__, "failed"), _sentence(error), []


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True
    return "No space left on device" in str(error)  # PyTorch and safetensors raise errors of their own


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, whichever library raised it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def _sentence(error: Exception) -> str:
    """Return the message of an error that is meant for users, and the last line of any other."""
    if type(error).__name__ in _CODES:
        return str(error)
    lines = str(error).strip().splitlines()
    summary = f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
    return f"The work failed; the log has details. {summary}"
