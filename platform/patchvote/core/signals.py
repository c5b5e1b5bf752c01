"""Signals that belong to no app."""

from django.dispatch import Signal

cleaning = Signal()
"""Sent by the sweep every few minutes. Receivers remove what nobody needs any more, within a second or two."""
