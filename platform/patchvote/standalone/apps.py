"""App configuration."""

from django.apps import AppConfig


class StandaloneConfig(AppConfig):
    """Everything on one machine."""

    name = "patchvote.standalone"
