"""Receivers of the signals of other apps."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from axes.models import AccessAttempt
from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.dispatch import receiver
from knox.models import get_token_model

from patchvote.accounts import audit
from patchvote.accounts.models import User
from patchvote.core.signals import act_performed, cleaning


@receiver(cleaning)
def delete_expired(**_: Any) -> None:
    """Delete expired tokens and sessions, and sign-in failures that no longer count."""
    get_token_model().objects.filter(expiry__lt=Now()).delete()
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
    AccessAttempt.objects.filter(attempt_time__lt=Now() - 2 * settings.AXES_COOLOFF_TIME).delete()


@receiver(act_performed)
def record_act(instance: models.Model, act: str, actor: User, **_: Any) -> None:
    """Add an act of another app to the audit log."""
    audit.record(actor, act, instance)
