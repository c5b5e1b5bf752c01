"""Model versions, which never change, and the alias that says which one serves."""

from __future__ import annotations

import uuid
from pathlib import Path

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from classifier.bundle import Bundle


class ModelVersion(models.Model):
    """A registered bundle. Its files lie under their SHA-256 and never change."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=64)
    version = models.PositiveIntegerField(_("version"), help_text=_("Counts up for each name."))
    sha256 = models.CharField("SHA-256", max_length=64, unique=True)
    metadata = models.JSONField(_("metadata"))
    created_at = models.DateTimeField(_("registered at"), default=timezone.now)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["name", "version"], name="one_of_each_version")]
        verbose_name = _("model version")
        verbose_name_plural = _("model versions")

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"

    @property
    def folder(self) -> Path:
        """Where its bundle lies."""
        return Path(settings.MODELS_DIR) / self.sha256

    def bundle(self) -> Bundle:
        """Read and check its bundle.

        Raises:
            BundleError: If the files are gone or were changed.
        """
        return Bundle.load(self.folder)

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
