"""The heartbeat of a worker process: it renews the process's row with the time and the measurements."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid

from django.db import close_old_connections, connection
from django.db.models.functions import Now

from patchvote.jobs import stats
from patchvote.jobs.models import Worker
from patchvote.jobs.signals import worker_beating

logger = logging.getLogger(__name__)

NAME = f"{socket.gethostname()[:60]}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
"""The unique name of this process; a restarted process has another name."""

_stop = threading.Event()
_engine = ""


def start(queue: str) -> None:
    """Start the heartbeat for a queue in a separate thread."""
    logger.info("worker started", extra={"worker": NAME, "queue": queue, "engine": _engine})
    threading.Thread(target=_run, args=(queue,), name="heartbeat", daemon=True).start()


def beat(queue: str) -> None:
    """Renew the row once."""
    values = {"queue": queue, "engine": _engine, "seen_at": Now(), "stats": stats.snapshot()}
    if not Worker.objects.filter(pk=NAME).update(**values):
        Worker.objects.update_or_create(pk=NAME, defaults=values)


def stop() -> None:
    """Request that this process claims no more jobs. Only sets a flag, because signal handlers call it."""
    _stop.set()


def leave() -> None:
    """Delete the row, at an orderly shutdown."""
    Worker.objects.filter(pk=NAME).delete()


def stopping() -> bool:
    """Return whether the process must stop: it finishes the jobs that it holds and claims no more."""
    return _stop.is_set()


def set_engine(engine: str) -> None:
    """Set the device and the number format that the row shows."""
    global _engine  # noqa: PLW0603 (one process, one engine)
    _engine = engine


def _run(queue: str) -> None:
    while not _stop.is_set():
        try:
            close_old_connections()
            beat(queue)
            worker_beating.send(sender=None, queue=queue)
        except Exception:
            logger.exception("heartbeat failed")
        _stop.wait(Worker.HEARTBEAT.total_seconds())
    connection.close()
