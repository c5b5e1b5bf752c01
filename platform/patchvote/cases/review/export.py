"""Export the images with reviewers' labels, as data sets need them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.utils.translation import ngettext

from classifier.bundle import patient_key
from patchvote.cases.models import Case, Decision, Image, Review

if TYPE_CHECKING:
    from patchvote.accounts.models import User


@dataclass(frozen=True)
class ReviewedImage:
    """An image with the label that a reviewer gave it.

    Attributes:
        image: The image.
        label: The class, benign or malignant.
        patient: The patient: the normalised reference of the case, or the id of a case without reference.
        magnification: The magnification of the case.
        reviewer: The author of the latest review.
        reviewed_at: The time of the latest review.
    """

    image: Image
    label: str
    patient: str
    magnification: str
    reviewer: User
    reviewed_at: datetime


@dataclass(frozen=True)
class ReviewedImages:
    """The images for a data set, and what was left out.

    Attributes:
        images: The images with their labels.
        notes: Sentences for users, one for each kind of image that was left out.
    """

    images: list[ReviewedImage]
    notes: list[str]


def reviewed_images(
    *,
    magnification: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    only_corrected: bool = False,
) -> ReviewedImages:
    """Return images with their reviewers' labels, latest review first; of images with equal pixels only one.

    Among images with equal pixels the newest review counts, whatever the parameters exclude: a review that was
    superseded later is not exported, even if it lies within the time span. Synthetic samples and unfit images are left
    out.

    Args:
        magnification: The magnification of the case; None for any.
        since: Start of the time span of the reviews, inclusive.
        until: End of the time span, exclusive.
        only_corrected: Export only images whose verdict a reviewer corrected.
    """

    def matches(review: Review) -> bool:
        return (
            magnification in {None, review.image.case.magnification}
            and (since is None or review.created_at >= since)
            and (until is None or review.created_at < until)
        )

    latest = Review.objects.latest_of_each_image().select_related("image__case", "reviewer")
    newest: dict[str, Review] = {}
    of_real_cases = latest.filter(image__case__synthetic=False)  # newest first
    older = [review for review in of_real_cases if newest.setdefault(review.image.sha256, review) is not review]
    wanted = [review for review in newest.values() if matches(review)]
    chosen = [
        review for review in wanted if review.label and (not only_corrected or review.decision == Decision.CORRECTED)
    ]
    labels = {review.image.sha256: review.label for review in chosen}
    duplicates = [review for review in older if review.image.sha256 in labels]
    return ReviewedImages(
        [_reviewed_image(review) for review in chosen],
        list(
            _notes(
                unfit=sum(not review.label for review in wanted),
                synthetic=sum(matches(review) for review in latest.filter(image__case__synthetic=True)),
                duplicates=len(duplicates),
                contradicting=sum(review.label not in {"", labels[review.image.sha256]} for review in duplicates),
                without_reference=len({review.image.case_id for review in chosen if not _patient(review.image.case)}),
            )
        ),
    )


def _reviewed_image(review: Review) -> ReviewedImage:
    case = review.image.case
    return ReviewedImage(
        image=review.image,
        label=review.label,
        patient=_patient(case) or str(case.pk),
        magnification=case.magnification,
        reviewer=review.reviewer,
        reviewed_at=review.created_at,
    )


def _patient(case: Case) -> str:
    return patient_key(case.reference)


def _notes(*, unfit: int, synthetic: int, duplicates: int, contradicting: int, without_reference: int) -> Iterator[str]:
    if unfit:
        yield ngettext(
            "%(n)d image was left out: it was marked as unfit.",
            "%(n)d images were left out: they were marked as unfit.",
            unfit,
        ) % {"n": unfit}
    if synthetic:
        yield ngettext(
            "%(n)d image was left out: it is a synthetic sample.",
            "%(n)d images were left out: they are synthetic samples.",
            synthetic,
        ) % {"n": synthetic}
    if duplicates:
        yield ngettext(
            "%(n)d review was left out: an image with the same pixels has a newer one.",
            "%(n)d reviews were left out: images with the same pixels have newer ones.",
            duplicates,
        ) % {"n": duplicates}
    if contradicting:
        yield ngettext(
            "%(n)d of them says another class than the newer one, which counts.",
            "%(n)d of them say another class than the newer ones, which count.",
            contradicting,
        ) % {"n": contradicting}
    if without_reference:
        yield ngettext(
            "%(n)d case has no reference: it counts as a patient of its own.",
            "%(n)d cases have no reference: each counts as a patient of its own.",
            without_reference,
        ) % {"n": without_reference}
