"""Data sets: add one from a zip, a folder or reviewed cases, and find the ones that can be used."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.db import IntegrityError, transaction
from django.db.models import Max, QuerySet
from django.utils.translation import gettext as _

from patchvote.jobs.models import State
from patchvote.jobs.signals import wake_up
from patchvote.training.models import DataSet, Source
from trainer.worker.archives import inspect, unpacked_bytes
from trainer.worker.protocol import ArchiveBounds

_TRIES = 5
_RESERVE_BYTES = 1 << 30
"""Disk space that no data set may use, because cases and the database need it."""


class DataSetRefusedError(ValueError):
    """The refusal of a data set before its check; `problems` lists every reason."""

    def __init__(self, problems: list[str]) -> None:
        """Store the problems."""
        super().__init__("\n".join(problems))
        self.problems = problems


def add_archive(data_set: DataSet, file: File[bytes]) -> None:
    """Store a new data set whose images are in an uploaded zip, and queue its check.

    Raises:
        DataSetRefusedError: If the zip's list of contents shows a problem; the check finds other problems later.
    """
    problems = archive_problems(file)
    if problems:
        raise DataSetRefusedError(problems)
    data_set.source, data_set.origin = Source.ARCHIVE, _printable_name(file.name)
    try:
        # A large upload is a file already: it is moved, not copied.
        FileSystemStorage(data_set.folder).save(data_set.archive.name, file)
        _create(data_set)
    except BaseException:
        remove_files(data_set)
        raise


def add_folder(data_set: DataSet, folder: str) -> None:
    """Store a new data set whose images stay in a folder on the server, and queue its check.

    Args:
        data_set: The data set, not stored yet.
        folder: An absolute path, or a path below one of the setting `DATA_ROOTS`.

    Raises:
        DataSetRefusedError: If there is no such folder below a data root.
    """
    data_set.source, data_set.origin = Source.FOLDER, str(find_folder(folder))
    _create(data_set)


def add_reviews(data_set: DataSet, selection: dict[str, Any]) -> None:
    """Store a new data set of reviewed images with the reviewers' labels, and queue its check.

    Args:
        data_set: The data set, not stored yet.
        selection: The arguments of `patchvote.cases.review.export.reviewed_images`, as JSON data.
    """
    data_set.source, data_set.selection = Source.REVIEWS, selection
    _create(data_set)


def archive_problems(file: File[bytes]) -> list[str]:
    """Return one sentence for each problem of a zip that its list of contents shows."""
    problems = inspect(file, archive_bounds())
    free = shutil.disk_usage(settings.DATA_DIR).free
    if not problems and free < unpacked_bytes(file) + _RESERVE_BYTES:
        problems.append(
            _("The server's disk does not have enough free space: %(free)d MB are free.") % {"free": free // 2**20}
        )
    return problems


def archive_bounds() -> ArchiveBounds:
    """Return the limits of an unpacked zip: images hardly compress, so twice the size of the zip is enough."""
    return ArchiveBounds(max_bytes=2 * settings.DATA_SET_MAX_BYTES)


def find_folder(folder: str) -> Path:
    """Find a folder below a data root. Links are resolved first, so that none of them leads outside.

    Raises:
        DataSetRefusedError: If there is no such folder.
    """
    roots: list[Path] = settings.DATA_ROOTS
    for root in roots:
        try:
            path = (root / folder.strip()).resolve()
            if path.is_dir() and any(path.is_relative_to(allowed) for allowed in roots):
                return path
        except OSError:  # the name is too long, or the folder is not readable
            continue
    allowed = ", ".join(map(str, roots))
    raise DataSetRefusedError([_("%(folder)s is not a folder below %(roots)s.") % {"folder": folder, "roots": allowed}])


def folders_to_choose() -> list[str]:
    """Return the folders one level below the data roots, in the form that `add_folder` accepts."""
    found = []
    for number, root in enumerate(settings.DATA_ROOTS):
        try:
            below = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError:  # missing or not readable
            continue
        found += [path.name if number == 0 else str(path) for path in below]
    return found


def usable() -> QuerySet[DataSet]:
    """Return the data sets that passed their check, newest first."""
    return DataSet.objects.filter(state=State.SUCCEEDED)


def missing_files(data_set: DataSet) -> list[str]:
    """Return the paths of the images that were there when the data set was checked and are missing now."""
    root = data_set.root
    return [path for path in data_set.images.values_list("path", flat=True) if not (root / path).is_file()]


def remove_files(data_set: DataSet) -> None:
    """Delete the stored files of a data set; the folder of a folder data set is left unchanged."""
    shutil.rmtree(data_set.folder, ignore_errors=True)


def _create(data_set: DataSet) -> None:
    """Store a data set as the next version of its name, and queue its check."""
    for attempt in range(_TRIES):
        latest = DataSet.objects.filter(name=data_set.name).aggregate(latest=Max("version"))["latest"] or 0
        data_set.version = latest + 1
        try:
            with transaction.atomic():
                data_set.save(force_insert=True)
                transaction.on_commit(partial(wake_up.send, sender=DataSet), robust=True)
        except IntegrityError:  # another data set of this name was stored at the same time: count again
            if attempt == _TRIES - 1:
                raise
        else:
            return


def _printable_name(name: str | None) -> str:
    printable = "".join(character for character in str(name or "") if character.isprintable())
    return printable.replace("\\", "/").rsplit("/", 1)[-1][-200:]
