"""The configuration of the app `jobs`."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class JobsConfig(AppConfig):
    """The app of jobs and workers."""

    name = "patchvote.jobs"
    verbose_name = _("Jobs")

    def ready(self) -> None:
        """Connect the receivers that start the heartbeat in Celery workers."""
        from patchvote.jobs import worker  # noqa: F401
