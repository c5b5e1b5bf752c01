"""Why an order cannot be done, in a code and a sentence that says what to do."""

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
    "There is not enough memory for this. Choose a smaller batch size, a smaller network, or the frozen mode, or train "
    "on a machine with more memory."
)
_DISK = gettext_noop("The disk is full. Make room, then start this again: what is finished so far is kept.")
_FOREIGN_PATH = re.compile(r"(?<![\w.:/])/(?:[^\s/'\"“”,;:]+/)+(?=[^\s/])")
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")

_CODES: dict[str, FailureCode] = {
    "FloatingPointError": "diverged",
    "BundleError": "bad_bundle",
    "WeightsUnavailableError": "weights_unavailable",  # by name: its module would bring PyTorch along
}
"""Of errors whose message is a sentence for people."""


class DataChangedError(ProblemsError):
    """The data set is not any more what it was when it was checked."""


class FileGoneError(Exception):
    """Files of the data set are not there any more."""

    def __init__(self, paths: list[Path]) -> None:
        """Name them."""
        super().__init__(f"{paths[0]} is gone." if len(paths) == 1 else f"{len(paths)} files are gone.")
        self.paths = paths


_PROBLEMS: dict[type[ProblemsError | ArchiveError], tuple[FailureCode, str]] = {
    ArchiveError: ("bad_archive", gettext_noop("The archive cannot be used. Mend what is listed, and send it again.")),
    DataSetError: (
        "data_set_problems",
        gettext_noop("The data set cannot be used like this. Mend what is listed, or choose other options."),
    ),
    OptionsError: ("bad_options", gettext_noop("These options do not work. Choose others.")),
    DataChangedError: (
        "data_changed",
        gettext_noop("The data set is not any more what it was when it was checked. Make a new version of it."),
    ),
}
"""Of errors that list everything that is wrong."""


@dataclass(frozen=True)
class Names:
    """How paths of this machine are called in sentences.

    Attributes:
        places: Folders and files, and what each is called; what lies in it is called by its place there.
    """

    places: Mapping[Path, str]

    def apply(self, sentence: str) -> str:
        """The sentence without a path that begins at this machine's root."""
        longest_first = sorted(self.places.items(), key=lambda item: -len(str(item[0])))
        for place, name in longest_first:
            sentence = sentence.replace(f"{place}/", "").replace(str(place), name)
        return _FOREIGN_PATH.sub("", sentence)


def failure(error: Exception, names: Names) -> Failed:
    """What to say of an error."""
    code, message, details = _say(error)
    return Failed(code=code, message=names.apply(message), details=tuple(map(names.apply, details)))


def _say(error: Exception) -> tuple[FailureCode, str, list[str]]:
    if is_out_of_memory(error):
        return "out_of_memory", _MEMORY, []
    if _is_disk_full(error):
        return "disk_full", _DISK, []
    if isinstance(error, ProblemsError | ArchiveError) and type(error) in _PROBLEMS:
        return *_PROBLEMS[type(error)], error.problems
    if isinstance(error, ValidationError):
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        return *_PROBLEMS[OptionsError], wrong
    if isinstance(error, FileNotFoundError) and error.filename:
        error = FileGoneError([Path(error.filename)])
    if isinstance(error, FileGoneError):
        what = f"{error} Put back what is missing, or make a new version of the data set."
        return "file_gone", what, [f"{path} is gone." for path in error.paths]
    return _CODES.get(type(error).__name__, "failed"), _sentence(error), []


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True
    return "No space left on device" in str(error)  # PyTorch and safetensors have errors of their own


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, whoever says so."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def _sentence(error: Exception) -> str:
    """The message of an error that is meant for people, else the last line of any other."""
    if type(error).__name__ in _CODES:
        return str(error)
    lines = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__
    return f"It failed, and the log says more. {said}"
