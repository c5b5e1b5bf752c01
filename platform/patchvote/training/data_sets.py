"""Data sets: where they come from, and what becomes of their check."""

from __future__ import annotations

import csv
import shutil
from contextlib import suppress
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.db import IntegrityError, transaction
from django.db.models import Max, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from patchvote.cases.review import export
from patchvote.jobs import ledger
from patchvote.jobs.models import State
from patchvote.jobs.signals import wake_up
from patchvote.training.job_handlers import Handler, RefusedError
from patchvote.training.models import DataSet, DataSetImage, Source
from trainer.data.records import MANIFEST_NAME
from trainer.worker.archives import inspect, unpacked_bytes
from trainer.worker.protocol import LOG_FILE, ORDER_FILE, OUTCOME_FILE, ArchiveBounds, CheckOrder, Event

_TRIES = 5
_ROWS_AT_ONCE = 500
_RESERVE_BYTES = 1 << 30
"""Of the disk, for cases and the database: no data set may take it."""
_DRAFT = "draft-"

TOO_LONG = gettext_noop("The data set cannot be used like this. Mend what is listed, or choose other options.")
NOTHING_REVIEWED = gettext_noop("No reviewed image fits the choice: widen it, or review some cases first.")


class DataSetRefusedError(ValueError):
    """A data set that is not even taken to be checked; `problems` lists every reason."""

    def __init__(self, problems: list[str]) -> None:
        """Keep the sentences."""
        super().__init__("\n".join(problems))
        self.problems = problems


def add_archive(data_set: DataSet, file: File[bytes]) -> None:
    """Store a new data set whose images are in an uploaded zip, and queue its check.

    Raises:
        DataSetRefusedError: For what the zip's list of contents gives away; the rest is found by the check.
    """
    problems = archive_problems(file)
    if problems:
        raise DataSetRefusedError(problems)
    data_set.source, data_set.origin = Source.ARCHIVE, _plain(file.name)
    try:
        # A large upload lies in a file already: it is moved, not copied.
        FileSystemStorage(data_set.folder).save(data_set.archive.name, file)
        _create(data_set)
    except BaseException:
        remove_files(data_set)
        raise


def add_folder(data_set: DataSet, folder: str) -> None:
    """Store a new data set whose images lie in a folder on the server, where they are read; queue its check.

    Args:
        data_set: Not stored yet.
        folder: Absolute, or below one of the setting `DATA_ROOTS`.

    Raises:
        DataSetRefusedError: If there is no such folder below a data root.
    """
    data_set.source, data_set.origin = Source.FOLDER, str(find_folder(folder))
    _create(data_set)


def add_reviews(data_set: DataSet, selection: dict[str, Any]) -> None:
    """Store a new data set of reviewed images, labelled as the reviewers say, and queue its check.

    Args:
        data_set: Not stored yet.
        selection: Arguments of `patchvote.cases.review.export.reviewed_images`, as plain data.
    """
    data_set.source, data_set.selection = Source.REVIEWS, selection
    _create(data_set)


def archive_problems(file: File[bytes]) -> list[str]:
    """What is wrong with a zip, judged by its list of contents: sentences, none where all is well."""
    problems = inspect(file, archive_bounds())
    free = shutil.disk_usage(settings.DATA_DIR).free
    if not problems and free < unpacked_bytes(file) + _RESERVE_BYTES:
        problems.append(_("The server's disk has no room for this: %(free)d MB are free.") % {"free": free // 2**20})
    return problems


def find_folder(folder: str) -> Path:
    """A folder below a data root; links are followed first, so that none of them leads out.

    Raises:
        DataSetRefusedError: If there is none.
    """
    roots: list[Path] = settings.DATA_ROOTS
    for root in roots:
        try:
            path = (root / folder.strip()).resolve()
            if path.is_dir() and any(path.is_relative_to(allowed) for allowed in roots):
                return path
        except OSError:  # a name too long, a folder that may not be read
            continue
    allowed = ", ".join(map(str, roots))
    raise DataSetRefusedError([_("%(folder)s is no folder below %(roots)s.") % {"folder": folder, "roots": allowed}])


def usable() -> QuerySet[DataSet]:
    """Those that passed their check, newest first."""
    return DataSet.objects.filter(state=State.SUCCEEDED)


def missing_files(data_set: DataSet) -> list[str]:
    """The images, by their paths, that do not lie any more where they were when the data set was checked."""
    root = data_set.root
    return [path for path in data_set.images.values_list("path", flat=True) if not (root / path).is_file()]


def folders_to_choose() -> list[str]:
    """Folders below the data roots, one level deep, as they can be given to `from_folder`."""
    found = []
    for number, root in enumerate(settings.DATA_ROOTS):
        try:
            below = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError:  # not there, or not for us
            continue
        found += [path.name if number == 0 else str(path) for path in below]
    return found


def archive_bounds() -> ArchiveBounds:
    """What a zip may unpack to: images hardly shrink, so little more than its own size."""
    return ArchiveBounds(max_bytes=2 * settings.DATA_SET_MAX_BYTES)


def remove_files(data_set: DataSet) -> None:
    """Delete what was kept of a data set; a folder that was only read stays as it is."""
    shutil.rmtree(data_set.folder, ignore_errors=True)


class DataSetHandler(Handler[DataSet]):
    """Checks a data set."""

    model = DataSet

    def order(self, job: DataSet) -> CheckOrder:
        """Bring the images together, and check them."""
        if job.source == Source.REVIEWS and not job.root.exists():
            _export_reviews(job)
        archive = job.archive if job.source == Source.ARCHIVE else None
        return CheckOrder(archive=archive, source=job.root, bounds=archive_bounds(), cache=settings.CACHE_DIR)

    def happened(self, job: DataSet, event: Event) -> None:
        """There is nothing but progress."""

    def succeeded(self, job: DataSet, result: dict[str, Any]) -> dict[str, Any]:
        """Keep a row for each image."""
        images = result["images"]
        too_long = _too_long(images)
        if too_long:
            raise RefusedError("data_set_problems", TOO_LONG, too_long)
        rows = [
            DataSetImage(data_set=job, **{name: value for name, value in image.items() if name != "slide"})
            for image in images
        ]
        DataSetImage.objects.bulk_create(rows, batch_size=_ROWS_AT_ONCE)
        return {
            "fingerprint": result["fingerprint"],
            "synthetic": result["synthetic"],
            "notes": [*job.notes, *result["notes"]],
            "size_in_bytes": result["bytes"],
            "image_count": len(images),
            "patient_count": len({image["patient"] for image in images}),
        }

    def ended(self, job: DataSet) -> None:
        """The zip has been unpacked; of what was refused nothing is kept but the reasons."""
        if job.state == State.SUCCEEDED:
            job.archive.unlink(missing_ok=True)
        elif job.folder.is_dir():
            for path in job.folder.iterdir():
                if path.name not in {ORDER_FILE, LOG_FILE, OUTCOME_FILE}:
                    _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _too_long(images: list[dict[str, Any]]) -> list[str]:
    """Texts that the database has no room for."""
    return [
        f"{image['path'][:100]}: {name} has more than {limit} characters, or one that is none."
        for image in images
        for name, limit in DataSetImage.LENGTHS.items()
        if len(image[name]) > limit or "\0" in image[name]
    ]


def _create(data_set: DataSet) -> None:
    """Give it the next version of its name and queue its check."""
    for attempt in range(_TRIES):
        latest = DataSet.objects.filter(name=data_set.name).aggregate(latest=Max("version"))["latest"] or 0
        data_set.version = latest + 1
        try:
            with transaction.atomic():
                data_set.save(force_insert=True)
                transaction.on_commit(_wake, robust=True)
        except IntegrityError:  # another one of this name came at the same moment: count again
            if attempt == _TRIES - 1:
                raise
        else:
            return


def _wake() -> None:
    wake_up.send(sender=DataSet)


def _plain(name: str | None) -> str:
    printable = "".join(character for character in str(name or "") if character.isprintable())
    return printable.replace("\\", "/").rsplit("/", 1)[-1][-200:]


def _export_reviews(data_set: DataSet) -> None:
    """Copy the reviewed images beside a manifest, completely or not at all."""
    chosen = export.reviewed_images(**_moments(data_set.selection))
    if not chosen.images:
        raise RefusedError("nothing_reviewed", NOTHING_REVIEWED)
    data_set.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for broken in data_set.folder.glob(f"{_DRAFT}*"):
        _remove(broken)
    draft = data_set.folder / f"{_DRAFT}{uuid4().hex}"
    draft.mkdir(mode=0o700)
    with (draft / MANIFEST_NAME).open("w", encoding="utf-8", newline="") as file:
        manifest = csv.DictWriter(file, ["path", "label", "patient", "magnification"])
        manifest.writeheader()
        for one in chosen.images:
            name = f"{one.image.pk}.{one.image.format.lower()}"
            with one.image.file.open("rb") as original, (draft / name).open("wb") as copy:
                shutil.copyfileobj(original, copy)
            manifest.writerow(
                {"path": name, "label": one.label, "patient": one.patient, "magnification": one.magnification}
            )
    data_set.notes = list(chosen.notes)
    ledger.report(data_set, notes=data_set.notes)
    draft.rename(data_set.root)


def _moments(selection: dict[str, Any]) -> dict[str, Any]:
    """Days become moments: from the beginning of the first, until the end of the last."""
    moments = {**selection, "since": None, "until": None}
    for name, days in (("since", 0), ("until", 1)):
        day = parse_date(selection.get(name) or "")
        with suppress(OverflowError):  # the last day of the calendar is no bound
            moments[name] = day and timezone.make_aware(datetime.combine(day + timedelta(days=days), time.min))
    return moments
