"""App configuration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CasesConfig(AppConfig):
    """Cases, images and analyses."""

    name = "patchvote.cases"
    verbose_name = _("Cases")

    def ready(self) -> None:
        """Connect the signal receivers."""
        from patchvote.cases import receivers  # noqa: F401
