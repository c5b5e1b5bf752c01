"""A Celery consumer that reconnects quickly to a lost broker."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

_INTERVAL, _LONGEST = 0.5, 2.0
"""Seconds between two attempts. Celery's default grows to half a minute, during which cases would wait needlessly."""


class ReconnectingConsumer(Consumer):
    """A consumer that tries to reach a lost broker at least every two seconds."""

    def ensure_connected(self, conn: Any) -> Any:
        """Wait for the broker and return the connection."""
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=_INTERVAL, interval_step=_INTERVAL, interval_max=_LONGEST
        )
        return super().ensure_connected(conn)
