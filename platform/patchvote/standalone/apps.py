"""The configuration of the app `standalone`."""

from django.apps import AppConfig


class StandaloneConfig(AppConfig):
    """The app of the standalone installation."""

    name = "patchvote.standalone"

    def ready(self) -> None:
        """Register the system checks."""
        from patchvote.standalone import checks  # noqa: F401
