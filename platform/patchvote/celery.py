"""The Celery application: JSON messages that say "there is work" and carry no data.

Who works on what is decided by the ledger (`patchvote.jobs.ledger`), never by a message: a lost, doubled or late one
does no harm.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery, Task
from celery.signals import setup_logging
from kombu.exceptions import OperationalError
from redis import RedisError

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "patchvote.settings")

logger = logging.getLogger(__name__)

app = Celery("patchvote")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _keep_logging(**_: Any) -> None:
    """Django's LOGGING holds in workers too: a receiver of this signal keeps Celery from setting up its own."""


def wake(task: Task[[], None]) -> bool:
    """See to it that a wake-up waits; a broker that cannot be reached is no error, since the sweep tries again.

    Args:
        task: Takes no arguments.

    Returns:
        Whether the broker has one.
    """
    queue = task.app.amqp.router.route({}, task.name)["queue"].name
    try:
        with task.app.producer_or_acquire() as producer:
            # One that waits says all there is to say: while workers are busy for hours, the sweep's would pile up.
            if not producer.channel.queue_declare(queue).message_count:
                task.apply_async(producer=producer, retry=False)
    except (OperationalError, RedisError, OSError) as error:
        logger.warning("the broker cannot be reached, the sweep will wake the workers later: %s", error)
        return False
    return True
