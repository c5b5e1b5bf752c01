"""Ends a worker that hangs."""

from __future__ import annotations

import logging
import os
import signal
import time
from datetime import timedelta

logger = logging.getLogger(__name__)


class Watchdog:
    """Wants to be patted while the process comes along.

    What hangs, hangs in native code (a driver, a kernel), which no exception ends: the process is killed, the
    supervisor starts another, and the leases that ran out bring the jobs to it, each alone.
    """

    def __init__(self, patience: timedelta) -> None:
        """Begin to wait."""
        self._patience = patience.total_seconds()
        self.pat()

    def pat(self) -> None:
        """Say that the process came along."""
        self._patted = time.monotonic()

    def check(self) -> None:
        """Called by a thread that does not hang; it does not return if the patience is over."""
        silent = time.monotonic() - self._patted
        if silent > self._patience:
            logger.critical("no progress for %.0f s: this worker ends itself", silent)
            logging.shutdown()
            os.kill(os.getpid(), signal.SIGKILL)
