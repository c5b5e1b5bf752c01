"""What every Celery worker process does at its start and its end."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_ready, worker_shutdown, worker_shutting_down

from patchvote.jobs import heartbeat
from patchvote.jobs.signals import worker_starting


@worker_ready.connect
def _ready(sender: Any, **_: Any) -> None:
    for queue in sender.app.amqp.queues.consume_from:
        worker_starting.send(sender=None, queue=queue)
        heartbeat.start(queue)


@worker_shutting_down.connect
def _stopping(**_: Any) -> None:
    heartbeat.stop()


@worker_shutdown.connect
def _left(**_: Any) -> None:
    heartbeat.leave()
