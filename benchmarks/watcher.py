"""Reports the ends of cases from the database, so that clients need not poll the web server that they measure.

`python -m benchmarks.watcher`, in the environment of an installation, reads ids of cases from its input, one a line,
and prints a line of JSON for each case of one image when it has ended. `Watcher` runs this process.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from testing.paths import ROOT
from testing.stack import Stack

POLL_SECONDS = 0.02
_MANY, _MANY_SECONDS = 16, 0.1
"""With this number of waiting cases the queue does not run empty, and rare polling leaves the cores to the platform."""


@dataclass(frozen=True)
class Ended:
    """The timings of a case with one image, in seconds since the epoch, by the database's clock.

    Attributes:
        state: Its final state.
        queued: When its analysis was queued.
        started: When a worker claimed it.
        finished: When its result was stored; the transaction ends a moment later.
        engine: The device and number format that computed it.
    """

    state: str
    queued: float
    started: float
    finished: float
    engine: str


class Watcher:
    """A source of futures for the ends of cases."""

    def __init__(self, stack: Stack) -> None:
        """Start polling an installation's database."""
        self._promised: dict[str, Future[Ended]] = {}
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.watcher"],
            cwd=ROOT,
            env={**stack.environment, "DJANGO_SETTINGS_MODULE": "patchvote.config.settings"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def expect(self, case: str) -> Future[Ended]:
        """Return a future for the end of a case."""
        promise: Future[Ended] = Future()
        with self._lock:
            if self._process.poll() is not None:
                raise RuntimeError("The process that looks into the database has ended.")
            self._promised[case] = promise
            _input(self._process).write(f"{case}\n")
        return promise

    @property
    def waiting(self) -> int:
        """The number of unfinished cases."""
        return len(self._promised)

    def close(self) -> None:
        """End the process."""
        _input(self._process).close()
        self._process.wait(30)
        self._thread.join()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            case, *rest = json.loads(line)
            with self._lock:
                promise = self._promised.pop(case)
            promise.set_result(Ended(*rest))
        with self._lock:
            for promise in self._promised.values():
                promise.set_exception(RuntimeError("The process that looks into the database has ended."))


def _input(process: subprocess.Popen[str]) -> Any:
    return process.stdin


def main() -> None:
    """Poll the database until the input has ended and no case is awaited."""
    import django

    django.setup()
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    waiting: set[str] = set()
    while True:
        try:
            line = lines.get(block=not waiting)
        except queue.Empty:
            pass
        else:
            if line is None:
                return
            waiting.add(line)
            continue  # all that came meanwhile is asked for at once
        for case, *rest in _ended(waiting):
            waiting.discard(case)
            print(json.dumps([case, *rest]), flush=True)
        time.sleep(POLL_SECONDS if len(waiting) < _MANY else _MANY_SECONDS)


def _read(lines: queue.SimpleQueue[str | None]) -> None:
    for line in sys.stdin:
        lines.put(line.strip())
    lines.put(None)


def _ended(waiting: set[str]) -> list[tuple[Any, ...]]:
    from patchvote.cases.models import Case
    from patchvote.jobs.models import OPEN_STATES

    columns = ("queued_at", "started_at", "finished_at", "engine")
    rows = Case.objects.filter(pk__in=waiting).exclude(state__in=OPEN_STATES)
    return [
        (str(pk), state, *((moment or finished).timestamp() for moment in (queued, started, finished)), engine)
        for pk, state, queued, started, finished, engine in rows.values_list(
            "pk", "state", *(f"images__analyses__{column}" for column in columns)
        )
    ]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "patchvote.config.settings")
    main()
