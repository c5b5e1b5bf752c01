"""Signals that belong to no app."""

from django.dispatch import Signal

cleaning = Signal()
"""Sent by the sweep every few minutes. Receivers delete expired data, within a second or two."""

act_performed = Signal()
"""Sent when a user performs an act that no row of the database records; accounts add it to the audit log.

sender: the model; instance: the row that the act concerns; act: a key of `patchvote.accounts.audit_sentences.ACTS`;
actor: the user.
"""
