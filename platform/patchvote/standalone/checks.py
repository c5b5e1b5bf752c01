"""System checks of an installation."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register  # noqa: A004 (Django's name)


@register()
def check_environment(**_: Any) -> list[CheckMessage]:
    """Warn of environment variables that look like Patchvote's but that it does not read."""
    return [
        Warning(
            f"Patchvote does not read the environment variable {name}.",
            hint="Check its spelling: docs/operation.md lists all variables.",
            id="patchvote.W001",
        )
        for name in settings.UNKNOWN_VARIABLES
    ]
