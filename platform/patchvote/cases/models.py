"""Cases, their images, the analyses by model versions, and the reviews."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.models import Exists, F, OuterRef, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from patchvote.jobs.models import Job, State
from patchvote.registry.models import ModelVersion

if TYPE_CHECKING:
    from patchvote.accounts.models import User


class Verdict(models.TextChoices):
    """The class of an image, or the gravest class among the images of a case; in increasing order of gravity."""

    BENIGN = "benign", _("benign")
    MALIGNANT = "malignant", _("malignant")


def other_class(verdict: str) -> Verdict:
    """Return malignant for benign, and benign for malignant."""
    return Verdict.BENIGN if verdict == Verdict.MALIGNANT else Verdict.MALIGNANT


class Magnification(models.TextChoices):
    """The total magnification of a microscope (objective times eyepiece), in BreakHis's notation."""

    X40 = "40X", "40X"
    X100 = "100X", "100X"
    X200 = "200X", "200X"
    X400 = "400X", "400X"


class Decision(models.TextChoices):
    """A reviewer's decision about an image."""

    CONFIRMED = "confirmed", _("confirmed")
    CORRECTED = "corrected", _("corrected")
    UNFIT = "unfit", _("unfit")


class CaseQuerySet(models.QuerySet["Case"]):
    """A query set of cases."""

    def visible_to(self, user: User) -> CaseQuerySet:
        """Filter the cases that a user may see: their own, or all for reviewers and admins."""
        return self if user.sees_all_cases else self.filter(submitter=user)

    def update_and_bump_revision(self, **fields: Any) -> int:
        """Update fields and increase the revision, so that clients notice that what they display is out of date."""
        return self.update(revision=F("revision") + 1, **fields)

    def with_images(self, *, votes: bool = True, earlier: bool = False) -> CaseQuerySet:
        """Prefetch images, reviews, current analyses and model versions, in a constant number of queries.

        Args:
            votes: Whether to read the votes; a large image has thousands.
            earlier: Whether to read the analyses that newer ones replaced, without their votes.
        """
        analyses = Analysis.objects.select_related("model_version")
        current = analyses.filter(current=True)
        if not votes:
            current = current.defer("votes")
        related: list[models.Prefetch[Any]] = [
            models.Prefetch("analyses", current, to_attr="current_analyses"),
            models.Prefetch("reviews", Review.objects.with_authors(), to_attr="loaded_reviews"),
        ]
        if earlier:
            replaced = analyses.filter(current=False).defer("votes")
            related.append(models.Prefetch("analyses", replaced, to_attr="earlier"))
        images: models.Prefetch[Any] = models.Prefetch(
            "images", Image.objects.prefetch_related(*related), to_attr="loaded_images"
        )
        return self.prefetch_related(images)


class Case(models.Model):
    """A case: one or more images of one biopsy, as a user submitted them.

    `state` and `verdict` summarise the current analyses; `awaits_review`, `is_reviewed` and `is_disputed` summarise the
    reviews. `patchvote.cases.summaries` writes them in the transaction that changes the analyses or reviews.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    submitter = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="cases", verbose_name=_("submitter")
    )
    reference = models.CharField(
        _("reference"), max_length=100, blank=True, help_text=_("Your own number or name for the case.")
    )
    notes = models.TextField(_("notes"), blank=True, max_length=5000)
    magnification = models.CharField(_("magnification"), max_length=4, choices=Magnification, default=Magnification.X40)
    synthetic = models.BooleanField(_("synthetic sample"), default=False, editable=False)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.QUEUED, editable=False)
    verdict = models.CharField(_("verdict"), max_length=10, choices=Verdict, blank=True, editable=False)
    awaits_review = models.BooleanField(default=False, editable=False)
    is_reviewed = models.BooleanField(default=False, editable=False)
    is_disputed = models.BooleanField(default=False, editable=False)
    revision = models.PositiveIntegerField(default=0, editable=False)
    """Incremented by every change that users can see: a client that has this revision is up to date."""
    search_text = models.TextField(blank=True, editable=False)
    """Reference, notes and file names, normalised by `patchvote.cases.search`."""
    idempotency_key = models.CharField(max_length=200, null=True, editable=False)  # noqa: DJ001 (NULL: none given)
    fingerprint = models.CharField(max_length=64, blank=True, editable=False)
    created_at = models.DateTimeField(_("submitted at"), default=timezone.now, editable=False)

    objects = CaseQuerySet.as_manager()

    loaded_images: list[Image]
    """The images in their order, if `with_images()` or `submissions.submit()` loaded them; else not set."""

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name = _("case")
        verbose_name_plural = _("cases")
        constraints = [
            models.UniqueConstraint(fields=["submitter", "idempotency_key"], name="one_case_for_each_key"),
        ]
        indexes = [
            models.Index("created_at", "id", name="case_created"),
            models.Index("submitter", "created_at", "id", name="case_submitter_created"),
            models.Index("state", "created_at", name="case_state_created"),
            models.Index("verdict", "created_at", name="case_verdict_created"),
            models.Index("submitter", "state", "created_at", name="case_submitter_state"),
            models.Index("submitter", "verdict", "created_at", name="case_submitter_verdict"),
            models.Index("submitter", "reference", name="case_submitter_reference"),
            models.Index("reference", name="case_reference"),
            *(
                models.Index("created_at", "id", name=f"case_{column}", condition=Q(**{column: True}))
                for column in ("awaits_review", "is_reviewed", "is_disputed")
            ),
        ]

    def __str__(self) -> str:
        return self.reference or str(self.id)[:8]

    def get_absolute_url(self) -> str:
        """Return the URL of the result page."""
        return reverse("cases:detail", args=[self.pk])

    @property
    def all_images(self) -> list[Image]:
        """The images in their order: the loaded ones, else queried."""
        loaded: list[Image] | None = getattr(self, "loaded_images", None)
        return list(self.images.all()) if loaded is None else loaded

    @property
    def ended(self) -> bool:
        """Whether all current analyses have ended."""
        return self.state not in {State.QUEUED, State.RUNNING}


def _stored_under(image: Image, _filename: str) -> str:
    """Return a storage path that reveals nothing of the uploaded file's name."""
    return f"originals/{image.pk.hex[:2]}/{image.pk.hex}"


class ImageQuerySet(models.QuerySet["Image"]):
    """A query set of images."""

    def visible_to(self, user: User) -> ImageQuerySet:
        """Filter the images of cases that a user may see."""
        return self if user.sees_all_cases else self.filter(case__submitter=user)


class Image(models.Model):
    """A micrograph of a case. The uploaded file is kept unchanged and never served; browsers get a re-encoded copy."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="images", verbose_name=_("case"))
    position = models.PositiveSmallIntegerField(_("position"))
    filename = models.CharField(_("file name"), max_length=255, help_text=_("As given by the sender; text only."))
    file = models.FileField(_("file"), upload_to=_stored_under, max_length=120)
    format = models.CharField(_("format"), max_length=10)
    sha256 = models.CharField(_("SHA-256 of the pixels"), max_length=64, db_index=True)
    width = models.PositiveIntegerField(_("width"))
    height = models.PositiveIntegerField(_("height"))

    objects = ImageQuerySet.as_manager()

    current_analyses: list[Analysis]
    """The current analysis, if there is one. Like the two attributes below, set only on `Case.loaded_images`."""
    loaded_reviews: list[Review]
    """The reviews, newest first."""
    earlier: list[Analysis]
    """The replaced analyses, newest first; set only by `with_images(earlier=True)`."""

    class Meta:
        ordering = ["case", "position"]
        verbose_name = _("image")
        verbose_name_plural = _("images")
        constraints = [models.UniqueConstraint(fields=["case", "position"], name="one_image_in_each_place")]

    def __str__(self) -> str:
        return self.filename

    def get_absolute_url(self) -> str:
        """Return the URL of the re-encoded copy."""
        return reverse("api:image", args=[self.pk])

    @property
    def all_reviews(self) -> list[Review]:
        """The reviews, newest first: the loaded ones, else queried."""
        loaded: list[Review] | None = getattr(self, "loaded_reviews", None)
        return list(self.reviews.all()) if loaded is None else loaded

    @property
    def review(self) -> Review | None:
        """The latest review, which is the one that counts; None without a review."""
        return next(iter(self.all_reviews), None)

    @property
    def label(self) -> str:
        """The class that the latest review gives; empty without a review and for an unfit image."""
        return self.review.label if self.review else ""

    @property
    def analysis(self) -> Analysis | None:
        """The current analysis: the loaded one, else queried."""
        loaded: list[Analysis] | None = getattr(self, "current_analyses", None)
        if loaded is None:
            return self.analyses.filter(current=True).select_related("model_version").first()
        return loaded[0] if loaded else None


class Analysis(Job):
    """The job in which one model version analyses one image, and its result.

    `votes` has one entry per patch, in the format of the API: row, column, x, y, width, height, malignant_probability,
    vote.
    """

    LOST_MESSAGE = gettext_noop(
        "The worker stopped every time it worked on this. Analyse again; if that fails too, the image or the model may "
        "be at fault: tell an administrator."
    )
    RELATED = ("image", "model_version")

    image = models.ForeignKey(Image, on_delete=models.CASCADE, related_name="analyses", verbose_name=_("image"))
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="analyses", verbose_name=_("model version")
    )
    current = models.BooleanField(
        _("current"), default=True, editable=False, help_text=_("False once the image was analysed again.")
    )
    verdict = models.CharField(_("verdict"), max_length=10, choices=Verdict, blank=True, editable=False)
    malignant_share = models.FloatField(_("malignant share"), null=True, editable=False)
    threshold = models.FloatField(_("threshold"), null=True, editable=False)
    malignant_probability = models.FloatField(_("malignant probability"), null=True, editable=False)
    votes = models.JSONField(_("votes"), default=list, editable=False)
    engine = models.CharField(_("engine"), max_length=60, blank=True, editable=False)

    class Meta:
        ordering = ["-queued_at"]
        verbose_name = _("analysis")
        verbose_name_plural = _("analyses")
        constraints = [
            models.UniqueConstraint(fields=["image"], condition=Q(current=True), name="one_current_analysis"),
        ]
        indexes = [
            *Job.indexes("analysis"),
            # The metrics count failures by code on each request: the partial index holds failed analyses only. It
            # includes the state so that SQLite can answer from the index alone.
            models.Index("error_code", "state", name="analysis_failed", condition=Q(state=State.FAILED)),
        ]

    def __str__(self) -> str:
        return f"{self.image_id!s:.8} · {self.state}"

    @property
    def log_fields(self) -> dict[str, str]:
        """The fields of a job's log lines, with the case and the image."""
        return {"case": str(self.image.case_id), "image": str(self.image_id), **super().log_fields}

    @property
    def malignant_votes(self) -> int:
        """The number of patches that voted malignant."""
        return sum(vote["vote"] == Verdict.MALIGNANT for vote in self.votes)


MAY_REVIEW = "cases.add_review"
"""The permission of reviewers and admins to add reviews."""


class ReviewQuerySet(models.QuerySet["Review"]):
    """A query set of reviews."""

    def with_authors(self) -> ReviewQuerySet:
        """Join the reviewer and the model version whose analysis was reviewed."""
        return self.select_related("reviewer", "analysis__model_version").defer("analysis__votes")

    def latest_of_each_image(self) -> ReviewQuerySet:
        """Filter the reviews that no newer review of the same image supersedes."""
        later = Q(created_at__gt=OuterRef("created_at")) | Q(created_at=OuterRef("created_at"), pk__gt=OuterRef("pk"))
        return self.filter(~Exists(Review.objects.filter(later, image=OuterRef("image"))))


class Review(models.Model):
    """A reviewer's decision about an image and the analysis that was current at that time.

    Rows are added and never changed: a newer review of the same image supersedes the older ones, and all are kept.
    `patchvote.cases.review.services.review` adds them.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    image = models.ForeignKey(Image, on_delete=models.CASCADE, related_name="reviews", verbose_name=_("image"))
    analysis = models.ForeignKey(
        Analysis, on_delete=models.RESTRICT, related_name="reviews", verbose_name=_("analysis")
    )
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="reviews", verbose_name=_("reviewer")
    )
    decision = models.CharField(_("decision"), max_length=10, choices=Decision)
    label = models.CharField(
        _("label"), max_length=10, choices=Verdict, blank=True, help_text=_("What the image shows; empty if unfit.")
    )
    comment = models.TextField(_("comment"), max_length=2000, blank=True)
    created_at = models.DateTimeField(_("reviewed at"), default=timezone.now, editable=False)

    objects = ReviewQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name = _("review")
        verbose_name_plural = _("reviews")
        constraints = [
            models.CheckConstraint(
                name="review_label_fits_its_decision",
                condition=Q(decision=Decision.UNFIT, label="")
                | Q(decision__in=[Decision.CONFIRMED, Decision.CORRECTED], label__in=Verdict.values),
            ),
        ]
        indexes = [
            models.Index("image", "created_at", "id", name="review_image_created"),
            models.Index("created_at", name="review_created"),
        ]

    def __str__(self) -> str:
        return " ".join(str(word) for word in (self.get_decision_display(), self.get_label_display()) if word)

    def save(self, **options: Any) -> None:
        """Insert the row.

        Raises:
            TypeError: If the row exists already.
        """
        if not self._state.adding:
            raise TypeError("A review never changes: add a new one.")
        super().save(**options)

    def get_additional_data(self) -> dict[str, Any]:
        """Return what the audit log adds to an entry: the image and its case."""
        return {"act": "reviewed", "reason": f"{self.image.case}, {self.image}"}


class ReviewTally(models.Model):
    """The number of images that were reviewed on one day with one decision and label, for one model version.

    An image counts once per model version, by its latest review; synthetic samples do not count. Agreement is computed
    from these rows. `patchvote.cases.review.agreement.update_tally` updates them when a review is added.
    """

    model_version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    day = models.DateField()
    decision = models.CharField(max_length=10, choices=Decision)
    label = models.CharField(max_length=10, choices=Verdict, blank=True)
    images = models.IntegerField(default=0)

    class Meta:
        ordering = ["day", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["day", "model_version", "decision", "label"], name="one_tally_of_each"),
        ]

    def __str__(self) -> str:
        return f"{self.day}: {self.images} {self.decision} {self.label}"
