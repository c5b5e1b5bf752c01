"""App configuration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class JobsConfig(AppConfig):
    """The ledger of jobs."""

    name = "patchvote.jobs"
    verbose_name = _("Jobs")

    def ready(self) -> None:
        """Let Celery workers say that they are there."""
        from patchvote.jobs import worker  # noqa: F401
