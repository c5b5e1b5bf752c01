"""The child process of a job, as its parent sees it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from trainer.worker.protocol import LOG_FILE, Event, Order, Outcome, read_event, read_outcome, write_order

logger = logging.getLogger(__name__)

_GRACE_SECONDS = 3
_READ_BYTES = 1 << 16


class Child:
    """A process `python -m trainer.worker FOLDER`, with a lower priority than inference. It ends with this process.

    It is spawned, never forked, because CUDA does not survive a fork.
    """

    def __init__(self, folder: Path, order: Order) -> None:
        """Write the order and start the process. It exits at once if an earlier process has finished the job."""
        self.folder = folder
        self._unread = b""
        self._killed_for_memory = memory_kills()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_order(folder, order)
        with (folder / LOG_FILE).open("ab") as log:
            # Its standard input closes when this process ends, in whatever way; the child then ends, too.
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [sys.executable, "-m", "trainer.worker", str(folder)],
                cwd=settings.BASE_DIR,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # The parent alone handles Ctrl-C, so the child gets its own process group. It does not get its own
                # session: Linux divides the CPU between sessions first (autogroups), which would defeat the niceness.
                process_group=0,
            )
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            os.setpriority(os.PRIO_PROCESS, self._process.pid, settings.TRAINING_NICENESS)
        os.set_blocking(self._output, False)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    @property
    def outcome(self) -> Outcome | None:
        """The outcome that the process wrote; None if it died before the end."""
        return read_outcome(self.folder)

    @property
    def died_for_memory(self) -> bool:
        """Whether the process was killed and the kernel has killed a process for lack of memory since its start."""
        return self._process.returncode == -signal.SIGKILL and memory_kills() > self._killed_for_memory

    def events(self) -> Iterator[Event]:
        """Yield the events since the last call, without waiting."""
        while self._process.stdout is not None and not self._process.stdout.closed:
            try:
                read = os.read(self._output, _READ_BYTES)
            except BlockingIOError:
                return
            if not read:
                return
            *lines, self._unread = (self._unread + read).split(b"\n")
            for line in lines:
                event = read_event(line)
                if event is not None:
                    yield event

    def end(self) -> None:
        """End the process now; its finished work stays in its folder."""
        self._process.terminate()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.close()

    def close(self) -> None:
        """Close the pipes of a process that has ended."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def _output(self) -> int:
        if self._process.stdout is None:
            raise TypeError("The child was started without a pipe.")
        return self._process.stdout.fileno()


def memory_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory, in this container or else on this machine."""
    for path, name in (("/sys/fs/cgroup/memory.events", "oom_kill"), ("/proc/vmstat", "oom_kill")):
        try:
            lines = Path(path).read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
