"""App configuration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TrainingConfig(AppConfig):
    """Retraining from the admin."""

    name = "patchvote.training"
    verbose_name = _("Training")

    def ready(self) -> None:
        """Listen to the ledger."""
        from patchvote.training import receivers  # noqa: F401
