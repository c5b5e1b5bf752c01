"""The job that checks a data set: it gathers the images, has a child process check them, and stores one row each."""

from __future__ import annotations

import csv
import shutil
from contextlib import suppress
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext_noop

from patchvote.cases.review import export
from patchvote.jobs import ledger
from patchvote.jobs.models import State
from patchvote.training.data_sets import archive_bounds
from patchvote.training.job_handlers import Handler, RefusedError
from patchvote.training.models import DataSet, DataSetImage, Source
from trainer.data.records import MANIFEST_NAME
from trainer.worker.protocol import LOG_FILE, ORDER_FILE, OUTCOME_FILE, CheckOrder, Event

_ROWS_AT_ONCE = 500
_DRAFT = "draft-"

TOO_LONG = gettext_noop("The data set cannot be used. Fix the listed problems, or choose other options.")
NOTHING_REVIEWED = gettext_noop("No reviewed image fits the choice: widen it, or review some cases first.")


class DataSetHandler(Handler[DataSet]):
    """The handler of data set checks."""

    model = DataSet

    def create_order(self, job: DataSet) -> CheckOrder:
        """Export the reviewed images if they are the source, and return the order to check the images.

        Raises:
            RefusedError: If no reviewed image fits the selection.
        """
        if job.source == Source.REVIEWS and not job.root.exists():
            _export_reviews(job)
        archive = job.archive if job.source == Source.ARCHIVE else None
        return CheckOrder(archive=archive, source=job.root, bounds=archive_bounds(), cache=settings.CACHE_DIR)

    def handle_event(self, job: DataSet, event: Event) -> None:
        """Do nothing: the child sends no other events than progress."""

    def store_result(self, job: DataSet, result: dict[str, Any]) -> dict[str, Any]:
        """Store a row for each image, and return the numbers for the job's row.

        Raises:
            RefusedError: If a text is too long for the database.
        """
        images = result["images"]
        problems = _text_problems(images)
        if problems:
            raise RefusedError("data_set_problems", TOO_LONG, problems)
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

    def clean_up(self, job: DataSet) -> None:
        """Delete the zip after a success, and everything except order, log and outcome after a failure."""
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


def _text_problems(images: list[dict[str, Any]]) -> list[str]:
    """Return one sentence for each text that is too long for the database or contains a NUL character."""
    return [
        f"{image['path'][:100]}: {name} has more than {limit} characters, or a NUL character."
        for image in images
        for name, limit in DataSetImage.LENGTHS.items()
        if len(image[name]) > limit or "\0" in image[name]
    ]


def _export_reviews(data_set: DataSet) -> None:
    """Copy the reviewed images into the data set's folder and write a manifest, completely or not at all.

    Raises:
        RefusedError: If no reviewed image fits the selection.
    """
    chosen = export.reviewed_images(**_with_times(data_set.selection))
    if not chosen.images:
        raise RefusedError("nothing_reviewed", NOTHING_REVIEWED)
    data_set.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for incomplete in data_set.folder.glob(f"{_DRAFT}*"):
        _remove(incomplete)
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


def _with_times(selection: dict[str, Any]) -> dict[str, Any]:
    """Replace the first and last day of a selection by times: the start of the first day, the end of the last."""
    times = {**selection, "since": None, "until": None}
    for name, days in (("since", 0), ("until", 1)):
        day = parse_date(selection.get(name) or "")
        with suppress(OverflowError):  # no limit after the last day of the calendar
            times[name] = day and timezone.make_aware(datetime.combine(day + timedelta(days=days), time.min))
    return times
