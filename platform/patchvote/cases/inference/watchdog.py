"""A watchdog that kills a worker which hangs."""

from __future__ import annotations

import logging
import os
import signal
import time
from datetime import timedelta

logger = logging.getLogger(__name__)


class Watchdog:
    """A timer that kills the process unless it is reset in time.

    A worker hangs in native code (a driver, a kernel), which no exception can interrupt. So the process is killed; the
    supervisor starts another one, and once the leases have expired each job is tried again in a batch of its own.
    """

    def __init__(self, timeout: timedelta) -> None:
        """Start the timer."""
        self._timeout = timeout.total_seconds()
        self.reset()

    def reset(self) -> None:
        """Restart the timer: the process made progress."""
        self._last_progress = time.monotonic()

    def check(self) -> None:
        """Kill the process if the timer has run out. Call this from a thread that cannot hang."""
        silent = time.monotonic() - self._last_progress
        if silent > self._timeout:
            logger.critical("no progress for %.0f s: this worker kills itself", silent)
            logging.shutdown()
            os.kill(os.getpid(), signal.SIGKILL)
