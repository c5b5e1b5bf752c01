"""The audit log: who did what and when, kept by django-auditlog.

django-auditlog adds an entry whenever a row of the models below is added, changed or deleted. `record` adds entries for
acts that change no such row, or only rows that the ledger writes. An entry stores the names of the user and of the
object, so it stays complete after both are deleted.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from auditlog.models import LogEntry
from auditlog.registry import auditlog
from django.apps import apps
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.signals import post_delete, post_save, pre_save
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from rest_framework.throttling import BaseThrottle

from patchvote.accounts.models import User

ACTS_OF_CREATION = {
    "accounts.user": "created",
    "cases.case": "submitted",
    "cases.review": "reviewed",
    "registry.bundleupload": "uploaded",
    "registry.modelversion": "registered",
    "registry.promotion": "promote",
    "training.comparison": "compared",
    "training.dataset": "created",
    "training.trainingrun": "started",
}
"""The audited models, and the act that adding a row of each stands for."""

_ACTS = {LogEntry.Action.CREATE: "created", LogEntry.Action.UPDATE: "changed", LogEntry.Action.DELETE: "deleted"}
_EXCLUDED = {
    "advanced_at_attempt", "attempts", "error", "error_code", "finished_at", "furthest", "id", "last_login",
    "lease_expires_at", "notes", "progress", "queued_at", "seconds_left", "stage", "started_at", "state", "worker",
}  # fmt: skip
"""Fields that entries do not contain: workers write them, or they are too long."""

_request: ContextVar[HttpRequest | None] = ContextVar("audit_log_request", default=None)
_user_override: ContextVar[User | None] = ContextVar("audit_log_user", default=None)


class AuditLogMiddleware:
    """A middleware that makes the request available to new entries; it makes no database query."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Store the next handler."""
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the response of the next handler."""
        token = _request.set(request)
        try:
            return self._get_response(request)
        finally:
            _request.reset(token)


@contextmanager
def acting(user: User | None) -> Iterator[None]:
    """Attribute the entries of a `with` body to a user, for example if a worker acts on behalf of the user.

    Args:
        user: The user; None keeps the current attribution.
    """
    token = _user_override.set(user or _user_override.get())
    try:
        yield
    finally:
        _user_override.reset(token)


def record(actor: User | None, act: str, instance: models.Model, **details: Any) -> None:
    """Add an entry for an act that adds, changes or deletes no audited row.

    Args:
        actor: The user; None for the user of the current request, or for the server itself.
        act: A key of `patchvote.accounts.audit_sentences.ACTS`.
        instance: The object of the act.
        details: Further data to store, as JSON.
    """
    with acting(actor):
        LogEntry.objects.log_create(
            instance, force_log=True, action=LogEntry.Action.ACCESS, additional_data={"act": act, **details}
        )


def client_address(request: HttpRequest) -> str | None:
    """Return the address of a client; `X-Forwarded-For` counts only for the proxies of the settings (NUM_PROXIES)."""
    try:
        return str(ipaddress.ip_address(BaseThrottle().get_ident(request)))  # type: ignore[arg-type]  # reads META
    except ValueError:  # such as a Unix socket
        return None


def masked(_value: str) -> str:
    """Return the replacement of a password."""
    return "***"


def track() -> None:
    """Register the audited models and connect the receivers of sign-ins and tokens; called once at the start."""
    for label in ACTS_OF_CREATION:
        try:
            _track(apps.get_model(label))
        except LookupError:
            continue
    pre_save.connect(_complete, sender=LogEntry, dispatch_uid="audit-log")
    user_logged_in.connect(_signed_in, dispatch_uid="audit-log")
    user_logged_out.connect(_signed_out, dispatch_uid="audit-log")
    user_login_failed.connect(_sign_in_failed, dispatch_uid="audit-log")
    tokens = apps.get_model("knox", "AuthToken")  # not registered, because its primary key must not be stored
    post_save.connect(_token_saved, sender=tokens, dispatch_uid="audit-log")
    post_delete.connect(_token_deleted, sender=tokens, dispatch_uid="audit-log")


def _track(model: type[models.Model]) -> None:
    too_long = (models.JSONField, models.FileField)
    fields = model._meta.concrete_fields  # noqa: SLF001 (Django's documented way for any model)
    auditlog.register(
        model,
        exclude_fields=[field.name for field in fields if field.name in _EXCLUDED or isinstance(field, too_long)],
        mask_fields=["password"],
        mask_callable=f"{__name__}.masked",
        m2m_fields={"groups", "user_permissions"} if model is User else None,
    )


def _complete(instance: LogEntry, **_: Any) -> None:
    """Add the user, the address and the act to a new entry."""
    if not instance._state.adding:  # noqa: SLF001
        return
    request = _request.get()
    if instance.actor is None:
        instance.actor = _user_override.get() or _user(request)
    if request is not None:
        instance.remote_addr = client_address(request)
    data = dict(instance.additional_data or {})
    label = f"{instance.content_type.app_label}.{instance.content_type.model}"
    act = _ACTS.get(instance.action, "")
    data.setdefault("act", ACTS_OF_CREATION.get(label, act) if act == "created" else act)
    data["actor"] = instance.actor.get_username() if instance.actor else ""
    instance.additional_data = data


def _user(request: HttpRequest | None) -> User | None:
    """Return the user of a request. DRF also sets it on Django's request once it has read a token."""
    user = getattr(request, "user", None)
    return user if isinstance(user, User) else None


def _signed_in(user: User, **_: Any) -> None:
    record(user, "signed_in", user)


def _signed_out(user: User | None, **_: Any) -> None:
    if user is not None:  # else no user was signed in
        record(user, "signed_out", user)


def _sign_in_failed(credentials: dict[str, Any], **_: Any) -> None:
    LogEntry.objects.create(
        content_type=ContentType.objects.get_for_model(User),
        object_pk="",
        object_repr=str(credentials.get("username", ""))[:150],
        action=LogEntry.Action.ACCESS,
        additional_data={"act": "sign_in_failed"},
    )


def _token_saved(instance: Any, created: bool, **_: Any) -> None:
    if created:
        record(_actor(instance.user), "token_made", instance.user, token=instance.token_key)


def _token_deleted(instance: Any, **_: Any) -> None:
    expired = instance.expiry is not None and instance.expiry < timezone.now()
    act = "token_expired" if expired else "token_revoked"
    record(None if expired else _actor(instance.user), act, instance.user, token=instance.token_key)


def _actor(owner: User) -> User:
    """Return the user of the request, or the token's owner, who requested it with name and password."""
    return _user(_request.get()) or owner
