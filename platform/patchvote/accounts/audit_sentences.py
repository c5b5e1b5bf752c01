"""The entries of the audit log as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from auditlog.models import LogEntry
from django.core.exceptions import FieldDoesNotExist
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise


class Act(NamedTuple):
    """A kind of act that the audit log records.

    Attributes:
        label: The act in a word or two, for the filter of the list.
        sentence: The act in a sentence; `%(kind)s` and `%(what)s` name the object, `%(token)s` the start of a token.
    """

    label: StrPromise
    sentence: str


ACTS = {
    "signed_in": Act(gettext_lazy("signed in"), gettext_noop("signed in")),
    "signed_out": Act(gettext_lazy("signed out"), gettext_noop("signed out")),
    "sign_in_failed": Act(gettext_lazy("sign-in failed"), gettext_noop("a sign-in as “%(what)s” failed")),
    "token_made": Act(gettext_lazy("made a token"), gettext_noop("made the API token %(token)s… of %(what)s")),
    "token_revoked": Act(gettext_lazy("revoked a token"), gettext_noop("revoked the API token %(token)s… of %(what)s")),
    "token_expired": Act(gettext_lazy("token expired"), gettext_noop("the API token %(token)s… of %(what)s expired")),
    "submitted": Act(gettext_lazy("submitted"), gettext_noop("submitted the %(kind)s %(what)s")),
    "reviewed": Act(gettext_lazy("reviewed"), gettext_noop("reviewed: %(what)s")),
    "analysed_again": Act(gettext_lazy("analysed again"), gettext_noop("had the %(kind)s %(what)s analysed again")),
    "started": Act(gettext_lazy("started"), gettext_noop("started the %(kind)s %(what)s")),
    "cancelled": Act(gettext_lazy("cancelled"), gettext_noop("cancelled the %(kind)s %(what)s")),
    "compared": Act(gettext_lazy("compared"), gettext_noop("compared: %(what)s")),
    "uploaded": Act(gettext_lazy("uploaded"), gettext_noop("uploaded the bundle %(what)s")),
    "downloaded": Act(gettext_lazy("downloaded"), gettext_noop("downloaded the %(kind)s %(what)s")),
    "registered": Act(gettext_lazy("registered"), gettext_noop("registered the model %(what)s")),
    "promote": Act(gettext_lazy("promoted"), gettext_noop("promoted %(what)s")),
    "rollback": Act(gettext_lazy("rolled back"), gettext_noop("rolled back to %(what)s")),
    "created": Act(gettext_lazy("added"), gettext_noop("added the %(kind)s %(what)s")),
    "changed": Act(gettext_lazy("changed"), gettext_noop("changed the %(kind)s %(what)s")),
    "deleted": Act(gettext_lazy("deleted"), gettext_noop("deleted the %(kind)s %(what)s")),
}
"""The acts by the names that entries store."""

_AUDITLOG_TEXTS = (
    gettext_noop("log entry"), gettext_noop("log entries"), gettext_noop("timestamp"), gettext_noop("actor"),
    gettext_noop("Created {repr:s}"), gettext_noop("Updated {repr:s}"), gettext_noop("Deleted {repr:s}"),
    gettext_noop("Logged {repr:s}"),
)  # fmt: skip
"""Texts of django-auditlog that users see. It has no Spanish translation, so ours contains them."""
_OVERRIDDEN = gettext_noop("%(sentence)s, against the result of the comparison")
_LONGEST = 60
"""The maximum length of a value, in characters."""


def act(entry: LogEntry) -> str:
    """Return the act of an entry, a key of `ACTS`."""
    return str((entry.additional_data or {}).get("act", ""))


def actor_name(entry: LogEntry) -> str:
    """Return the user's name at that time; empty for the server itself."""
    return str((entry.additional_data or {}).get("actor", "") or entry.actor or "")


def sentence(entry: LogEntry) -> str:
    """Return an entry as a sentence, such as “promoted patchvote-40x v2: it finds more”, without a database query."""
    data = entry.additional_data or {}
    words = {"kind": entry.content_type.name, "what": entry.object_repr, "token": data.get("token", "")}
    known = ACTS.get(act(entry))
    text = _(known.sentence) % words if known else f"{act(entry)}: {entry.object_repr}"
    if data.get("overridden"):
        text = _(_OVERRIDDEN) % {"sentence": text}
    more = data.get("reason") or (_changes(entry) if act(entry) == "changed" else "")
    return f"{text}: {more}" if more else text


def changes(entry: LogEntry) -> list[tuple[str, str]]:
    """Return the label of each changed field with its old and new value."""
    texts = [(_label(entry, name), _change(change)) for name, change in (entry.changes or {}).items()]
    return sorted((label, text) for label, text in texts if text is not None)


def _changes(entry: LogEntry) -> str:
    return "; ".join(f"{label} {text}".strip() for label, text in changes(entry))


def _change(change: Any) -> str | None:
    """Return the old and the new value; an empty text for a masked value, None if there is no value."""
    if isinstance(change, dict):  # of a many-to-many relation
        sign = "+" if change.get("operation") == "add" else "-"
        return f"{sign} {', '.join(map(str, change.get('objects', [])))}"
    old, new = ("" if value in {None, "None"} else str(value)[:_LONGEST] for value in change)
    if old == new:
        return "" if old else None
    return f"{old} → {new or '-'}" if old else f"→ {new}"


def _label(entry: LogEntry, name: str) -> str:
    model = entry.content_type.model_class()
    try:
        return str(model._meta.get_field(name).verbose_name) if model else name  # noqa: SLF001
    except (FieldDoesNotExist, AttributeError):
        return name
