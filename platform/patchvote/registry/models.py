"""Model versions, the champion's alias, promotions, and uploads of bundles."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from classifier.bundle import METADATA_FILE, Bundle, BundleError, BundleMetadata
from patchvote.jobs.models import Job
from patchvote.jobs.supervised import SupervisedJob
from trainer.worker.protocol import LOG_FILE

if TYPE_CHECKING:
    from classifier.bundle import Seen


class Origin(models.TextChoices):
    """The way in which a model version came into the registry."""

    SHIPPED = "shipped", _("came with Patchvote")
    COMMAND = "command", _("command line")
    RUN = "run", _("training run")
    UPLOAD = "upload", _("upload")


class ModelVersion(models.Model):
    """A registered bundle. Its files are stored under their SHA-256 and never change.

    `metadata` is the bundle's metadata, except that of the seen patients and images only the numbers are stored: the
    lists can be long, and rows are read often. `seen` reads the lists from the bundle.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=64)
    version = models.PositiveIntegerField(_("version"), help_text=_("Counts up for each name."))
    sha256 = models.CharField("SHA-256", max_length=64, unique=True)
    metadata = models.JSONField(_("metadata"))
    origin = models.CharField(_("origin"), max_length=10, choices=Origin, default=Origin.COMMAND)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("registered by")
    )
    created_at = models.DateTimeField(_("registered at"), default=timezone.now)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["name", "version"], name="one_of_each_version")]
        permissions = [("promote_modelversion", _("Can promote model versions and roll back"))]
        verbose_name = _("model version")
        verbose_name_plural = _("model versions")

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"

    @property
    def folder(self) -> Path:
        """The folder of the bundle."""
        return Path(settings.MODELS_DIR) / self.sha256

    @property
    def download_name(self) -> str:
        """The file name of the downloaded bundle."""
        return f"{self.name}-v{self.version}.zip"

    def bundle(self) -> Bundle:
        """Read and check the bundle.

        Raises:
            BundleError: If the files are missing or were changed.
        """
        bundle = Bundle.load(self.folder)
        if bundle.sha256 != self.sha256:
            raise BundleError("The bundle's metadata was changed.")
        return bundle

    @property
    def seen(self) -> Seen | None:
        """The patients and images that it was trained on; None if they are not known.

        Raises:
            BundleError: If the bundle's files are missing.
        """
        if not self.seen_known:
            return None
        try:
            return BundleMetadata.model_validate_json((self.folder / METADATA_FILE).read_bytes()).seen
        except (OSError, ValueError) as error:
            raise BundleError("The bundle's metadata cannot be read.") from error

    @property
    def seen_known(self) -> bool:
        """Whether its training images are known; reads no file."""
        return self.metadata.get("seen") is not None

    @property
    def seen_claimed(self) -> bool:
        """Whether its training images are only claimed by the uploader, which cannot be checked here."""
        return self.origin == Origin.UPLOAD and self.seen_known

    @property
    def synthetic(self) -> bool:
        """Whether it was trained on synthetic images; its verdicts then mean nothing."""
        return bool(self.metadata.get("synthetic"))

    @property
    def patch_size(self) -> int:
        """The side of its patches in pixels; both sides of an image must be at least as long."""
        return int(self.metadata["grid"]["size"])

    @property
    def magnifications(self) -> list[str]:
        """The magnifications that it was trained for."""
        return list(self.metadata.get("magnifications", []))

    @property
    def balanced_accuracy(self) -> float | None:
        """The balanced accuracy by the protocol of its metrics; None if it was not measured."""
        value = self.metadata.get("metrics", {}).get("balanced_accuracy")
        if isinstance(value, dict):
            value = value.get("value")
        return float(value) if isinstance(value, int | float) else None

    @property
    def is_champion(self) -> bool:
        """Whether it is the champion, which analyses new cases."""
        return self.aliases.filter(name=Alias.CHAMPION).exists()


class Alias(models.Model):
    """A movable name for a model version."""

    CHAMPION = "champion"

    name = models.CharField(_("name"), max_length=20, primary_key=True)
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="aliases", verbose_name=_("model version")
    )
    changed_at = models.DateTimeField(_("changed at"), auto_now=True)

    class Meta:
        verbose_name = _("alias")
        verbose_name_plural = _("aliases")

    def __str__(self) -> str:
        return f"{self.name}: {self.model_version}"


class Promotion(models.Model):
    """A promotion or rollback of the champion. Rows are added and never changed."""

    class Kind(models.TextChoices):
        """The direction of the change."""

        PROMOTE = "promote", _("promoted")
        ROLLBACK = "rollback", _("rolled back")

    kind = models.CharField(_("act"), max_length=10, choices=Kind, default=Kind.PROMOTE)
    version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="promotions", verbose_name=_("model version")
    )
    previous = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("instead of")
    )
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        related_name="+",
        verbose_name=_("by"),
        help_text=_("Empty: by a command on the server."),
    )
    at = models.DateTimeField(_("at"), default=timezone.now)
    reason = models.TextField(_("reason"), blank=True)
    overridden = models.BooleanField(_("overridden"), default=False, help_text=_("Against what the comparison said."))
    evidence = models.JSONField(_("evidence"), null=True)

    class Meta:
        ordering = ["-pk"]
        verbose_name = _("promotion")
        verbose_name_plural = _("promotions")

    def __str__(self) -> str:
        return str(self.version)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert the row.

        Raises:
            TypeError: If the row exists already.
        """
        if not self._state.adding:
            raise TypeError("A promotion never changes: add a new one.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Never:
        """Refuse to delete.

        Raises:
            TypeError: Always.
        """
        del args, kwargs
        raise TypeError("A promotion is never deleted.")

    def get_additional_data(self) -> dict[str, Any]:
        """Return what the audit log adds to an entry: the kind of step and its reason."""
        return {"act": self.kind, "reason": self.reason, "overridden": self.overridden}


class BundleUpload(SupervisedJob):
    """The job that tries an uploaded bundle in a child process before it becomes a model version."""

    FOLDER = "uploads"
    LOG_FILE = LOG_FILE

    filename = models.CharField(_("file name"), max_length=255, help_text=_("As given by the sender; text only."))
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, related_name="uploads", verbose_name=_("model version")
    )

    class Meta:
        ordering = ["-queued_at"]
        verbose_name = _("uploaded bundle")
        verbose_name_plural = _("uploaded bundles")
        indexes = Job.indexes("bundleupload")

    def __str__(self) -> str:
        return self.filename

    def get_absolute_url(self) -> str:
        """Return the URL of its admin page."""
        return reverse("admin:registry_bundleupload_change", args=[self.pk])

    @property
    def archive(self) -> Path:
        """The path of the uploaded zip, which is deleted after the trial."""
        return self.folder / "upload.zip"
