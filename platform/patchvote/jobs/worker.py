"""Start and end the heartbeat with each Celery worker process."""

from __future__ import annotations

import logging
from typing import Any

from celery.signals import worker_ready, worker_shutdown, worker_shutting_down

from patchvote.jobs import heartbeat
from patchvote.jobs.signals import worker_starting

logger = logging.getLogger(__name__)


@worker_ready.connect
def _ready(sender: Any, **_: Any) -> None:
    for queue in sender.app.amqp.queues.consume_from:
        # A worker starts even if a receiver fails.
        for receiver, failure in worker_starting.send_robust(sender=None, queue=queue):
            if failure is not None:
                logger.error("%s failed", receiver, exc_info=failure)
        heartbeat.start(queue)


@worker_shutting_down.connect
def _stopping(**_: Any) -> None:
    heartbeat.stop()


@worker_shutdown.connect
def _left(**_: Any) -> None:
    heartbeat.leave()
