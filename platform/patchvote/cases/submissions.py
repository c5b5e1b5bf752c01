"""Submitting cases: check the uploaded images and store them with one queued analysis each."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.utils.translation import gettext as _

from classifier.imaging.decode import DecodeError, Limits, decode
from patchvote.cases import pixel_cache, search
from patchvote.cases.decoding import DECODING, upload_limits
from patchvote.cases.models import Analysis, Case, Image
from patchvote.jobs.signals import wake_up
from patchvote.registry.services import champion

if TYPE_CHECKING:
    from patchvote.accounts.models import User

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """An uploaded file that was refused, with the reason as a code and a message."""

    filename: str
    code: str
    message: str


class SubmissionError(ValueError):
    """The refusal of a submission because of its files. Nothing was stored."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        """Store the refusals, one per bad file."""
        super().__init__("; ".join(f"{r.filename}: {r.message}" for r in refusals))
        self.refusals = list(refusals)

    @property
    def too_large(self) -> bool:
        """Whether the size of the files is the only problem."""
        return all(refusal.code == "too_many_bytes" for refusal in self.refusals)


class KeyReusedError(ValueError):
    """The refusal of an Idempotency-Key that an earlier request used with other content."""


@dataclass(frozen=True)
class Submission:
    """The result of `submit`.

    Attributes:
        case: The stored case; unless repeated, with its images loaded as `CaseQuerySet.with_images` loads them.
        repeated: True if an earlier request with the same Idempotency-Key stored the case.
    """

    case: Case
    repeated: bool = False


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
    """Check and store a case, with one queued analysis per image by the current champion.

    The submission is atomic: if one file is bad, nothing is stored, and the error lists all bad files.

    Args:
        submitter: The user who owns the case.
        files: The images.
        reference: The submitter's own name for the case.
        notes: Free text.
        magnification: One of `Magnification`.
        idempotency_key: A repeated submission with the same key and content returns the first case.
        synthetic: True for a synthetic sample.

    Raises:
        SubmissionError: If a file is refused.
        KeyReusedError: If the key was used with other content.
        NoChampionError: If no model version is champion.
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
        _decode_all(case, files, upload_limits(model_version), images)
        case.fingerprint = _fingerprint(images, reference, notes, magnification)
        case.search_text = search.normalise(reference, notes, *(image.filename for image in images))
        earlier = _find_repeated(case)
        if earlier:
            _delete_files(images)
            return earlier
        for image, file in zip(images, files, strict=True):
            file.seek(0)
            image.file.save(image.filename, file, save=False)
        with transaction.atomic():
            case.save(force_insert=True)
            Image.objects.bulk_create(images)
            analyses = [Analysis(image=image, model_version=model_version) for image in images]
            Analysis.objects.bulk_create(analyses)
            transaction.on_commit(partial(wake_up.send, sender=Analysis), robust=True)
    except BaseException as error:
        if _may_be_stored(error):
            raise  # if there is no row, the cleaning removes the files
        _delete_files(images)
        if isinstance(error, IntegrityError) and (earlier := _find_repeated(case)):
            return earlier  # the same request was sent twice at the same time
        raise
    logger.info("case accepted", extra={"case": str(case.pk), "images": len(images), "submitter": submitter.pk})
    case.loaded_images = images
    for image, analysis in zip(images, analyses, strict=True):
        image.current_analyses, image.loaded_reviews = [analysis], []
    return Submission(case)


def file_name(file: File[bytes]) -> str:
    """Return the uploaded file's name as harmless text: no folders, no control characters, at most 255 characters."""
    name = str(file.name or "").replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(character for character in name if character.isprintable()).strip()
    return printable[-255:] or "image"


def _decode_all(case: Case, files: Sequence[File[bytes]], limits: Limits, images: list[Image]) -> None:
    """Append an image for each file and cache its pixels for the worker; collect the problems of all files."""
    if not files:
        raise SubmissionError([Refusal("", "required", _("Send at least one image."))])
    if len(files) > settings.UPLOAD_MAX_IMAGES:
        message = _("A case may have at most %(count)d images.") % {"count": settings.UPLOAD_MAX_IMAGES}
        raise SubmissionError([Refusal("", "too_many_images", message)])
    refusals: list[Refusal] = []
    for file in files:
        try:
            with DECODING:
                images.append(_decode(case, len(images), file, limits))
        except DecodeError as error:
            refusals.append(Refusal(file_name(file), error.code, _(error.template) % error.values))
    if refusals:
        raise SubmissionError(refusals)


def _decode(case: Case, position: int, file: File[bytes], limits: Limits) -> Image:
    """Return an image whose file is not stored yet."""
    decoded = decode(file, limits)
    image = Image(
        case=case,
        position=position,
        filename=file_name(file),
        format=decoded.format,
        sha256=decoded.sha256,
        width=decoded.width,
        height=decoded.height,
    )
    pixel_cache.put(image, decoded.pixels)
    return image


def _fingerprint(images: Sequence[Image], *texts: str) -> str:
    """Return a hash that two requests share if they have the same images in the same order and the same texts."""
    parts = [image.sha256 for image in images] + list(texts)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _find_repeated(case: Case) -> Submission | None:
    """Return the submission of an earlier request with the same Idempotency-Key, if there is one."""
    if case.idempotency_key is None:
        return None
    earlier = Case.objects.filter(submitter=case.submitter, idempotency_key=case.idempotency_key).first()
    if earlier is None:
        return None
    if earlier.fingerprint != case.fingerprint:
        raise KeyReusedError(_("This Idempotency-Key was used for another case. Use a new key for each case."))
    return Submission(earlier, repeated=True)


def _may_be_stored(error: BaseException) -> bool:
    """Return whether the commit may have succeeded although its answer got lost; SQLite always answers."""
    return isinstance(error, OperationalError | InterfaceError) and connection.vendor != "sqlite"


def _delete_files(images: Iterable[Image]) -> None:
    """Delete the files of images that were not stored, including incomplete files after a full disk."""
    for image in images:
        pixel_cache.discard(image)
        name = image.file.field.generate_filename(image, image.filename)
        try:
            default_storage.delete(name)
        except OSError:
            logger.exception("%s could not be deleted", name)
