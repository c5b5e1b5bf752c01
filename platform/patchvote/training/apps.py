"""App configuration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TrainingConfig(AppConfig):
    """Data sets, training runs and comparisons."""

    name = "patchvote.training"
    verbose_name = _("Training")

    def ready(self) -> None:
        """Connect the signal receivers."""
        from patchvote.training import receivers  # noqa: F401
