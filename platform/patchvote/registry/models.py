"""Model versions, which never change; the alias that says which one serves; and how it came to."""

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
    """How a model version came into the registry."""

    SHIPPED = "shipped", _("came with Patchvote")
    COMMAND = "command", _("command line")
    RUN = "run", _("training run")
    UPLOAD = "upload", _("upload")


class ModelVersion(models.Model):
    """A registered bundle. Its files lie under their SHA-256 and never change.

    `metadata` is the bundle's, but of what it has seen only the numbers are kept: the lists can be long, and rows are
    read often. `seen` reads them from the bundle.
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
        """Where its bundle lies."""
        return Path(settings.MODELS_DIR) / self.sha256

    @property
    def download_name(self) -> str:
        """What its bundle is called as one file."""
        return f"{self.name}-v{self.version}.zip"

    def bundle(self) -> Bundle:
        """Read and check its bundle.

        Raises:
            BundleError: If the files are gone or were changed.
        """
        bundle = Bundle.load(self.folder)
        if bundle.sha256 != self.sha256:
            raise BundleError("The bundle's metadata was changed.")
        return bundle

    @property
    def seen(self) -> Seen | None:
        """What it was trained on; None where that is not known.

        Raises:
            BundleError: If its files are gone.
        """
        if not self.says_what_it_saw:
            return None
        try:
            return BundleMetadata.model_validate_json((self.folder / METADATA_FILE).read_bytes()).seen
        except (OSError, ValueError) as error:
            raise BundleError("The bundle's metadata cannot be read.") from error

    @property
    def says_what_it_saw(self) -> bool:
        """Whether it is known what it was trained on; asks no file."""
        return self.metadata.get("seen") is not None

    @property
    def seen_claimed(self) -> bool:
        """True if what it was trained on is the word of who uploaded it, which nobody here can check."""
        return self.origin == Origin.UPLOAD and self.says_what_it_saw

    @property
    def synthetic(self) -> bool:
        """True if it was trained on synthetic images: then its verdicts mean nothing."""
        return bool(self.metadata.get("synthetic"))

    @property
    def patch_size(self) -> int:
        """Side of its patches, in pixels: no image may be smaller."""
        return int(self.metadata["grid"]["size"])

    @property
    def magnifications(self) -> list[str]:
        """What it was trained for."""
        return list(self.metadata.get("magnifications", []))

    @property
    def balanced_accuracy(self) -> float | None:
        """By the protocol of its metrics; None where it was not measured."""
        value = self.metadata.get("metrics", {}).get("balanced_accuracy")
        if isinstance(value, dict):
            value = value.get("value")
        return float(value) if isinstance(value, int | float) else None

    @property
    def is_champion(self) -> bool:
        """True if it serves new cases."""
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
    """One step of the champion's history: rows are added and never changed."""

    class Kind(models.TextChoices):
        """Which way the step went."""

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
        """Add the row; a second time is an error."""
        if not self._state.adding:
            raise TypeError("The history of the champion is never changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Never:
        """Refuse."""
        del args, kwargs
        raise TypeError("The history of the champion is never changed.")

    def get_additional_data(self) -> dict[str, Any]:
        """Return what the audit log adds to an entry: the kind of step and its reason."""
        return {"act": self.kind, "reason": self.reason, "overridden": self.overridden}


class BundleUpload(SupervisedJob):
    """A bundle that a person sent: a child process tries it before it becomes a model version."""

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
        """Its page in the admin."""
        return reverse("admin:registry_bundleupload_change", args=[self.pk])

    @property
    def archive(self) -> Path:
        """Where the zip lies until it was tried."""
        return self.folder / "upload.zip"
