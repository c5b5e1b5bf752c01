"""The Celery application. Its messages only wake workers; they are JSON and carry no data.

The ledger (`patchvote.jobs.ledger`) assigns jobs to workers, never a message: a lost, duplicate or late message does no
harm.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from celery import Celery, Task
from celery.signals import setup_logging
from kombu.exceptions import OperationalError
from redis import RedisError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "patchvote.config.settings")

logger = logging.getLogger(__name__)

_FAILURES = (OperationalError, RedisError, OSError)

app = Celery("patchvote")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _keep_logging(**_: Any) -> None:
    """Keep Django's LOGGING in workers: a receiver of this signal prevents Celery from configuring its own logging."""


PAUSE_SECONDS = 2.0
"""How long a process does not contact the broker after a failure, so that not every request waits for the time-out."""

_failed_at = -PAUSE_SECONDS


def broker_answers() -> bool:
    """Return whether the broker responds; False without a check shortly after a failure."""
    if _pausing():
        return False
    try:
        with app.producer_or_acquire() as producer:
            producer.channel.client.ping()
    except _FAILURES:
        _pause()
        return False
    return True


def wake(task: Task[[], None]) -> bool:
    """Send a wake-up message unless one is waiting. An unreachable broker is no error: the sweep tries again.

    Args:
        task: A task without arguments.

    Returns:
        Whether a message waits at the broker.
    """
    if _pausing():
        return False
    queue = task.app.amqp.router.route({}, task.name)["queue"].name
    try:
        with task.app.producer_or_acquire() as producer:
            # One waiting message is enough; otherwise the sweep's would accumulate while workers are busy for hours.
            if not producer.channel.queue_declare(queue).message_count:
                task.apply_async(producer=producer, retry=False)
    except _FAILURES as error:
        _pause()
        logger.warning("the broker cannot be reached; the sweep will wake the workers later: %s", error)
        return False
    return True


def _pausing() -> bool:
    return time.monotonic() - _failed_at < PAUSE_SECONDS


def _pause() -> None:
    global _failed_at  # noqa: PLW0603 (one process, one broker)
    _failed_at = time.monotonic()
