"""The audit log: who did what and when, kept by django-auditlog.

Rows of the models below tell of themselves when a person adds, changes or deletes them. What changes no row, or only
rows that the ledger writes, is told by `record`. An entry keeps the names of the person and of the thing, so it says
the same after both are gone.
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

CREATED = {
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
"""The models that tell of themselves, and what adding a row of each is called."""

_ACTS = {LogEntry.Action.CREATE: "created", LogEntry.Action.UPDATE: "changed", LogEntry.Action.DELETE: "deleted"}
_NOT_TOLD = {
    "advanced_at_attempt", "attempts", "error", "error_code", "finished_at", "furthest", "id", "last_login",
    "lease_expires_at", "notes", "progress", "queued_at", "seconds_left", "stage", "started_at", "state", "worker",
}  # fmt: skip
"""Fields that a worker writes, or that hold too much."""

_request: ContextVar[HttpRequest | None] = ContextVar("audit_log_request", default=None)
_person: ContextVar[User | None] = ContextVar("audit_log_user", default=None)


class AuditLogMiddleware:
    """Remembers the request, so that entries can say who made it; it asks the database for nothing."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep what answers."""
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer."""
        token = _request.set(request)
        try:
            return self._get_response(request)
        finally:
            _request.reset(token)


@contextmanager
def acting(person: User | None) -> Iterator[None]:
    """Entries of the body are this person's: for what is done later in somebody's name, by a worker say.

    Args:
        person: None leaves it at whoever makes the request, if anybody does.
    """
    token = _person.set(person or _person.get())
    try:
        yield
    finally:
        _person.reset(token)


def record(actor: User | None, act: str, instance: models.Model, **details: Any) -> None:
    """Add an entry for an act that adds, changes and deletes no row of its own.

    Args:
        actor: Who did it; None for whoever makes the request, or the server itself.
        act: A word of `patchvote.accounts.audit_sentences.ACTS`.
        instance: What it was done to.
        details: Anything else worth keeping, as JSON.
    """
    with acting(actor):
        LogEntry.objects.log_create(
            instance, force_log=True, action=LogEntry.Action.ACCESS, additional_data={"act": act, **details}
        )


def client_address(request: HttpRequest) -> str | None:
    """Where a request came from: what a proxy says is believed only where the settings name proxies (NUM_PROXIES)."""
    try:
        return str(ipaddress.ip_address(BaseThrottle().get_ident(request)))  # type: ignore[arg-type]  # reads META
    except ValueError:  # a socket, say
        return None


def masked(_value: str) -> str:
    """What is kept of a password: nothing."""
    return "***"


def track() -> None:
    """Let the models tell of themselves, and listen for signing in and out and for tokens; called once at the start."""
    for label in CREATED:
        try:
            _track(apps.get_model(label))
        except LookupError:
            continue
    pre_save.connect(_complete, sender=LogEntry, dispatch_uid="audit-log")
    user_logged_in.connect(_signed_in, dispatch_uid="audit-log")
    user_logged_out.connect(_signed_out, dispatch_uid="audit-log")
    user_login_failed.connect(_sign_in_failed, dispatch_uid="audit-log")
    tokens = apps.get_model("knox", "AuthToken")  # told by hand: its primary key is what must not be kept
    post_save.connect(_token_saved, sender=tokens, dispatch_uid="audit-log")
    post_delete.connect(_token_deleted, sender=tokens, dispatch_uid="audit-log")


def _track(model: type[models.Model]) -> None:
    too_much = (models.JSONField, models.FileField)
    fields = model._meta.concrete_fields  # noqa: SLF001 (Django's documented way for any model)
    auditlog.register(
        model,
        exclude_fields=[field.name for field in fields if field.name in _NOT_TOLD or isinstance(field, too_much)],
        mask_fields=["password"],
        mask_callable=f"{__name__}.masked",
        m2m_fields={"groups", "user_permissions"} if model is User else None,
    )


def _complete(instance: LogEntry, **_: Any) -> None:
    """Say in a new entry who it was, from where, and what the act is called."""
    if not instance._state.adding:  # noqa: SLF001
        return
    request = _request.get()
    if instance.actor is None:
        instance.actor = _person.get() or _user(request)
    if request is not None:
        instance.remote_addr = client_address(request)
    told = dict(instance.additional_data or {})
    label = f"{instance.content_type.app_label}.{instance.content_type.model}"
    act = _ACTS.get(instance.action, "")
    told.setdefault("act", CREATED.get(label, act) if act == "created" else act)
    told["actor"] = instance.actor.get_username() if instance.actor else ""
    instance.additional_data = told


def _user(request: HttpRequest | None) -> User | None:
    """Who signed in to a request; one with a token is known to Django's request as soon as DRF has read the token."""
    user = getattr(request, "user", None)
    return user if isinstance(user, User) else None


def _signed_in(user: User, **_: Any) -> None:
    record(user, "signed_in", user)


def _signed_out(user: User | None, **_: Any) -> None:
    if user is not None:  # else nobody was signed in
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
        record(_by(instance.user), "token_made", instance.user, token=instance.token_key)


def _token_deleted(instance: Any, **_: Any) -> None:
    expired = instance.expiry is not None and instance.expiry < timezone.now()
    act = "token_expired" if expired else "token_revoked"
    record(None if expired else _by(instance.user), act, instance.user, token=instance.token_key)


def _by(owner: User) -> User:
    """Who makes the request; a token's owner where he or she has just given name and password for it."""
    return _user(_request.get()) or owner
