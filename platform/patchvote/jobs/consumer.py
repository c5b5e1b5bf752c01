"""How Celery's workers come back to a broker that was away."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

_INTERVAL, _LONGEST = 0.5, 2.0
"""Seconds between two tries: Celery's own grow to half a minute, and for so long cases would wait for nothing."""


class ReturningConsumer(Consumer):
    """Celery's, which tries to reach a lost broker every two seconds at the least."""

    def ensure_connected(self, conn: Any) -> Any:
        """Wait until the broker is there."""
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=_INTERVAL, interval_step=_INTERVAL, interval_max=_LONGEST
        )
        return super().ensure_connected(conn)
