"""App configuration."""

from django.apps import AppConfig


class StandaloneConfig(AppConfig):
    """Everything on one machine."""

    name = "patchvote.standalone"

    def ready(self) -> None:
        """Register the system checks."""
        from patchvote.standalone import checks  # noqa: F401
