"""`manage.py sweep`: return the jobs of dead workers to the queue."""

from __future__ import annotations

import logging
import signal
import threading
import time
from argparse import ArgumentParser
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error, close_old_connections

from patchvote.core.signals import cleaning
from patchvote.jobs import heartbeat, ledger, stats
from patchvote.jobs.models import Worker, job_models

logger = logging.getLogger(__name__)


def _clean() -> None:
    """Delete the rows of dead workers and let each app clean up; a failure in one app does not affect the others."""
    Worker.objects.forget_dead()
    for receiver, failure in cleaning.send_robust(sender=None):
        if failure is not None:
            logger.error("%s failed", receiver, exc_info=failure)


class Command(BaseCommand):
    """Sweeps every few seconds until a signal stops it."""

    help = (
        "Return the jobs of dead workers to the queue and wake the workers when jobs are due. "
        "Several sweeps may run at the same time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="sweep once and exit")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        if once:
            self._sweep()
            return
        cleaned_at = -float("inf")
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        # Each successful sweep is also the heartbeat, so the pause must not exceed the heartbeat's interval.
        pause = min(settings.JOB_SWEEP_SECONDS, Worker.HEARTBEAT.total_seconds())
        while not stop.is_set():
            close_old_connections()
            try:
                with stats.stage("sweep"):
                    self._sweep()
                heartbeat.beat(Worker.SWEEP)
                if time.monotonic() - cleaned_at >= settings.CLEANING_SECONDS:
                    cleaned_at = time.monotonic()
                    _clean()
            except Error:
                logger.exception("sweep failed; it will be repeated")
            stop.wait(pause)
        with suppress(Error):
            heartbeat.leave()

    def _sweep(self) -> None:
        for model in job_models():
            ledger.sweep(model)
