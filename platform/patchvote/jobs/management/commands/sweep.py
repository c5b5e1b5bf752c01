"""`manage.py sweep`: keep the promise that no job is lost."""

from __future__ import annotations

import logging
import signal
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error as DatabaseFailure
from django.db import close_old_connections

from patchvote.jobs import ledger
from patchvote.jobs.models import Job, Worker
from patchvote.signals import cleaning

logger = logging.getLogger(__name__)


def _clean() -> None:
    """Let every app clean; what fails in one keeps no other from it, and no sweep from going on."""
    for receiver, failure in cleaning.send_robust(sender=None):
        if failure is not None:
            logger.error("%s failed", receiver, exc_info=failure)


class Command(BaseCommand):
    """Sweeps every few seconds until it is stopped."""

    help = (
        "Give the jobs of dead workers back to the queue and wake the workers when jobs are due. "
        "May run in several places at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="sweep once and exit")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        cleaned_at = -float("inf")
        models = [model for model in apps.get_models() if issubclass(model, Job)]
        stop = threading.Event()
        if not once:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            close_old_connections()
            try:
                for model in models:
                    ledger.sweep(model)
                if time.monotonic() - cleaned_at >= settings.CLEANING_SECONDS:
                    cleaned_at = time.monotonic()
                    Worker.objects.forget_dead()
                    _clean()
            except DatabaseFailure:
                if once:
                    raise
                logger.exception("sweep failed, trying again")
            if once:
                return
            stop.wait(settings.JOB_SWEEP_SECONDS)
