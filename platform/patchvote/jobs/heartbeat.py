"""A worker process says that it is there, and what it measured: one row, renewed for as long as the process lives."""

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
"""This process, unmistakably: a restarted one has another name."""

_stop = threading.Event()
_engine = ""


def start(queue: str) -> None:
    """Begin to beat for a queue, from a thread of its own."""
    logger.info("worker is there", extra={"worker": NAME, "queue": queue, "engine": _engine})
    threading.Thread(target=_run, args=(queue,), name="heartbeat", daemon=True).start()


def beat(queue: str) -> None:
    """Beat once."""
    values = {"queue": queue, "engine": _engine, "seen_at": Now(), "stats": stats.snapshot()}
    if not Worker.objects.filter(pk=NAME).update(**values):
        Worker.objects.update_or_create(pk=NAME, defaults=values)


def stop() -> None:
    """Claim nothing more. Called from a signal handler, in the midst of anything: so it only sets a flag."""
    _stop.set()


def leave() -> None:
    """Remove the row: the worker left in good order."""
    Worker.objects.filter(pk=NAME).delete()


def stopping() -> bool:
    """True once the process was told to stop: it finishes what it holds and claims nothing more."""
    return _stop.is_set()


def set_engine(engine: str) -> None:
    """Say on what the worker computes."""
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
