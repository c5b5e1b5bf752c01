"""Sends signals to processes and tells whether they are alive."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process, which may have ended; 0 is ignored, for it means the test's own process group."""
    if pid:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return


def alive(pid: int) -> bool:
    """Return True until a process has ended; a zombie has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
