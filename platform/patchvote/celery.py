"""The Celery application: JSON messages that say "there is work" and carry no data.

Who works on what is decided by the ledger (`patchvote.jobs.ledger`), never by a message: a lost, doubled or late one
does no harm.
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
    """Django's LOGGING holds in workers too: a receiver of this signal keeps Celery from setting up its own."""


PAUSE_SECONDS = 2.0
"""After a failure a process leaves the broker alone for so long: a request must not wait for each time-out anew."""

_failed_at = -PAUSE_SECONDS


def broker_answers() -> bool:
    """Whether the broker did when this process tried last, or does now."""
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
    """See to it that a wake-up waits; a broker that cannot be reached is no error, since the sweep tries again.

    Args:
        task: Takes no arguments.

    Returns:
        Whether the broker has one.
    """
    if _pausing():
        return False
    queue = task.app.amqp.router.route({}, task.name)["queue"].name
    try:
        with task.app.producer_or_acquire() as producer:
            # One that waits says all there is to say: while workers are busy for hours, the sweep's would pile up.
            if not producer.channel.queue_declare(queue).message_count:
                task.apply_async(producer=producer, retry=False)
    except _FAILURES as error:
        _pause()
        logger.warning("the broker cannot be reached, the sweep will wake the workers later: %s", error)
        return False
    return True


def _pausing() -> bool:
    return time.monotonic() - _failed_at < PAUSE_SECONDS


def _pause() -> None:
    global _failed_at  # noqa: PLW0603 (one process, one broker)
    _failed_at = time.monotonic()
