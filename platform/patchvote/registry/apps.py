"""App configuration."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RegistryConfig(AppConfig):
    """Model versions and the champion."""

    name = "patchvote.registry"
    verbose_name = _("Models")
