"""What happens to cases: submitting, cancelling, analysing again, summing up."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.utils.translation import gettext as _

from classifier.imaging.decode import DecodeError, Limits, decode
from patchvote.accounts import audit
from patchvote.cases import pixel_cache, search
from patchvote.cases.models import Analysis, Case, Image
from patchvote.cases.summaries import summarise
from patchvote.jobs import ledger
from patchvote.jobs.signals import wake_up
from patchvote.registry.models import ModelVersion
from patchvote.registry.services import champion

if TYPE_CHECKING:
    from patchvote.accounts.models import User

logger = logging.getLogger(__name__)

DECODING = threading.BoundedSemaphore(1)
"""Held while a web process decodes: each image takes up to a gigabyte for a moment, however many people send some."""


@dataclass(frozen=True)
class Refusal:
    """One file that was not accepted, and why."""

    filename: str
    code: str
    message: str


class SubmissionError(ValueError):
    """Files that were not accepted. Nothing was stored."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        """Keep one refusal for each bad file."""
        super().__init__("; ".join(f"{r.filename}: {r.message}" for r in refusals))
        self.refusals = list(refusals)

    @property
    def too_large(self) -> bool:
        """True if size alone is what is wrong."""
        return all(refusal.code == "too_many_bytes" for refusal in self.refusals)


class KeyReusedError(ValueError):
    """The same Idempotency-Key came with other content."""


class StateError(ValueError):
    """The case's state does not allow what was asked."""


class UnsuitedError(StateError):
    """The model version cannot read the case's images."""


@dataclass(frozen=True)
class Submission:
    """A case, and its analyses; these are not read again if an earlier request with the same key had made it."""

    case: Case
    analyses: Sequence[Analysis] = ()

    @property
    def repeated(self) -> bool:
        """Whether an earlier request had made it."""
        return not self.analyses


def limits(model_version: ModelVersion | None) -> Limits:
    """The bounds of an image that a model version shall read."""
    bounds = Limits(max_bytes=settings.UPLOAD_MAX_BYTES, max_pixels=settings.UPLOAD_MAX_PIXELS)
    return replace(bounds, min_side=model_version.patch_size) if model_version else bounds


def submit(
    submitter: User,
    files: Sequence[File[bytes]],
    *,
    reference: str = "",
    notes: str = "",
    magnification: str = "40X",
    idempotency_key: str | None = None,
    synthetic: bool = False,
) -> Submission:
    """Check and store a case, with one queued analysis for each image, pinned to the champion of this moment.

    All or nothing: if one file is bad, nothing is stored, and all that is wrong is said at once.

    Raises:
        SubmissionError: If a file is not accepted.
        KeyReusedError: If the key was used with other content.
        NoChampionError: If no model serves.
    """
    model_version = champion()
    case = Case(
        submitter=submitter,
        reference=reference,
        notes=notes,
        magnification=magnification,
        idempotency_key=idempotency_key or None,
        synthetic=synthetic,
    )
    images: list[Image] = []
    try:
        _decode_all(case, files, limits(model_version), images)
        case.fingerprint = _fingerprint(images, reference, notes, magnification)
        case.search_text = search.folded(reference, notes, *(image.filename for image in images))
        earlier = _with_key(case)
        if earlier:
            _forget_files(images)
            return earlier
        for image, file in zip(images, files, strict=True):
            file.seek(0)
            image.file.save(image.filename, file, save=False)
        with transaction.atomic():
            case.save(force_insert=True)
            Image.objects.bulk_create(images)
            analyses = [Analysis(image=image, model_version=model_version) for image in images]
            Analysis.objects.bulk_create(analyses)
            transaction.on_commit(_wake_workers, robust=True)
    except BaseException as error:
        if _may_be_stored(error):
            raise  # the sweep removes the files if there is no row
        _forget_files(images)
        if isinstance(error, IntegrityError) and (earlier := _with_key(case)):
            return earlier  # the same request, sent twice at the same moment
        raise
    logger.info("case accepted", extra={"case": str(case.pk), "images": len(images), "submitter": submitter.pk})
    return Submission(case, analyses)


def analyse_again(case: Case, version: ModelVersion | None = None) -> None:
    """Queue a new analysis of each image; the old ones stay in the history.

    Args:
        case: Whose images.
        version: The model version that shall read them; the present champion when None.

    Raises:
        StateError: While an analysis is still open.
        UnsuitedError: If an image is too small for the version, or the version's files are gone.
        NoChampionError: If no model serves.
    """
    model_version = version or champion()
    with transaction.atomic():
        # The lock makes two requests at the same moment follow each other: the second finds open analyses.
        locked = Case.objects.select_for_update().get(pk=case.pk)
        if not locked.ended:
            raise StateError(_("This case is still being analysed. Cancel it first, or wait."))
        images = list(locked.images.all())
        _check_suited(model_version, images)
        Analysis.objects.filter(image__in=images, current=True).update(current=False)
        Analysis.objects.bulk_create([Analysis(image=image, model_version=model_version) for image in images])
        summarise([locked.pk])
        audit.record(None, "analysed_again", locked, model=str(model_version))
        transaction.on_commit(_wake_workers, robust=True)
    logger.info("case to be analysed again", extra={"case": str(case.pk), "images": len(images)})
    case.refresh_from_db()


def cancel(case: Case) -> None:
    """Cancel the analyses of a case that have not ended; results that exist stay.

    Raises:
        StateError: If all had ended.
    """
    open_ids = list(Analysis.objects.filter(image__case=case, current=True).values_list("pk", flat=True))
    if not ledger.cancel(Analysis, open_ids):
        raise StateError(_("There is nothing to cancel: the analyses of this case have ended."))
    audit.record(None, "cancelled", case)
    case.refresh_from_db()


def report_progress(analyses: Sequence[Analysis], share: float) -> bool:
    """Store the progress of running analyses that are computed together.

    Args:
        analyses: The claimed analyses.
        share: The computed share of the work, 0..1.

    Returns:
        False if the worker holds none of them any more.
    """
    with transaction.atomic():
        # All code locks rows in this order.
        held = sum(ledger.report(one, progress=share) for one in sorted(analyses, key=lambda one: one.pk))
        cases = Case.objects.select_for_update().filter(images__analyses__in=analyses)
        locked = list(cases.order_by("pk").values_list("pk", flat=True))
        Case.objects.filter(pk__in=locked).update_and_bump_revision()
    return bool(held)


def duplicates_of(image: Image, user: User) -> list[Image]:
    """Other images with equal pixels that a person may see, oldest first, five at the most."""
    same = Image.objects.visible_to(user).filter(sha256=image.sha256).exclude(pk=image.pk)
    return list(same.select_related("case").order_by("case__created_at")[:5])


def file_name(file: File[bytes]) -> str:
    """The sender's file name as harmless text: no folders, no control characters, of bounded length."""
    name = str(file.name or "").replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(character for character in name if character.isprintable()).strip()
    return printable[-255:] or "image"


def _check_suited(version: ModelVersion, images: Sequence[Image]) -> None:
    if not version.folder.exists():
        raise UnsuitedError(_("The files of %(model)s are gone. Choose another version.") % {"model": version})
    if any(min(image.width, image.height) < version.patch_size for image in images):
        message = _("%(model)s needs images of at least %(side)d pixels on both sides. Choose another version.")
        raise UnsuitedError(message % {"model": version, "side": version.patch_size})


def _decode_all(case: Case, files: Sequence[File[bytes]], bounds: Limits, images: list[Image]) -> None:
    """Add an image for each file, its pixels kept for the worker; all that is wrong is said at once."""
    if not files:
        raise SubmissionError([Refusal("", "required", _("Send at least one image."))])
    if len(files) > settings.UPLOAD_MAX_IMAGES:
        message = _("A case may have at most %(count)d images.") % {"count": settings.UPLOAD_MAX_IMAGES}
        raise SubmissionError([Refusal("", "too_many_images", message)])
    refusals: list[Refusal] = []
    for file in files:
        try:
            with DECODING:
                images.append(_decode(case, len(images), file, bounds))
        except DecodeError as error:
            refusals.append(Refusal(file_name(file), error.code, _(error.template) % error.values))
    if refusals:
        raise SubmissionError(refusals)


def _decode(case: Case, position: int, file: File[bytes], bounds: Limits) -> Image:
    """One image whose file is still to be stored."""
    decoded = decode(file, bounds)
    image = Image(
        case=case,
        position=position,
        filename=file_name(file),
        format=decoded.format,
        sha256=decoded.sha256,
        width=decoded.width,
        height=decoded.height,
    )
    pixel_cache.keep(image, decoded.pixels)
    return image


def _fingerprint(images: Sequence[Image], *texts: str) -> str:
    """What makes two requests the same: equal pictures in equal order, and equal texts."""
    parts = [image.sha256 for image in images] + list(texts)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _with_key(case: Case) -> Submission | None:
    if case.idempotency_key is None:
        return None
    earlier = Case.objects.filter(submitter=case.submitter, idempotency_key=case.idempotency_key).first()
    if earlier is None:
        return None
    if earlier.fingerprint != case.fingerprint:
        raise KeyReusedError(_("This Idempotency-Key was used for another case. Use a new key for each case."))
    return Submission(earlier)


def _wake_workers() -> None:
    wake_up.send(sender=Analysis)


def _may_be_stored(error: BaseException) -> bool:
    """True if a commit's answer may have been lost on its way from the server; SQLite always tells."""
    return isinstance(error, OperationalError | InterfaceError) and connection.vendor != "sqlite"


def _forget_files(images: Iterable[Image]) -> None:
    """Remove what was written of images that are not stored, also what a full disk left of a file."""
    for image in images:
        pixel_cache.forget(image)
        name = image.file.field.generate_filename(image, image.filename)
        try:
            default_storage.delete(name)
        except OSError:
            logger.exception("%s could not be deleted", name)
