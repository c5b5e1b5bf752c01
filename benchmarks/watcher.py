"""Tells when cases end, as the database says it: so clients need not ask the web server that they measure.

`python -m benchmarks.watcher`, in the environment of an installation, reads ids of cases from its input, one a line,
and prints a line of JSON for each case of one image once it has ended. `Watcher` runs it and speaks to it.
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
"""Where so many cases wait, the queue never runs dry, and looking less often leaves the cores to what is measured."""


@dataclass(frozen=True)
class Ended:
    """How one case of one image went; times are seconds since the epoch, by the database's clock.

    Attributes:
        state: In which it ended.
        queued: When its analysis was queued.
        started: When a worker claimed it.
        finished: When its result was stored; the transaction ends a moment later.
        engine: On what and in which number format it was computed.
    """

    state: str
    queued: float
    started: float
    finished: float
    engine: str


class Watcher:
    """Promises the ends of cases."""

    def __init__(self, stack: Stack) -> None:
        """Start looking into an installation's database."""
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
        """The end of a case, once it is there."""
        promise: Future[Ended] = Future()
        with self._lock:
            if self._process.poll() is not None:
                raise RuntimeError("The process that looks into the database has ended.")
            self._promised[case] = promise
            _input(self._process).write(f"{case}\n")
        return promise

    @property
    def waiting(self) -> int:
        """How many cases have not ended."""
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
    """Look into the database until the input ends and nothing is waited for."""
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
