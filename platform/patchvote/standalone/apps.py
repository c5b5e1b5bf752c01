"""App configuration."""

from django.apps import AppConfig


class EmbeddedConfig(AppConfig):
    """Everything on one machine."""

    name = "patchvote.standalone"
