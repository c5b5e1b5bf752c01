"""An installation that takes faults: further processes beside the supervised ones, its database, its Redis."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

import redis as redis_client
import requests

from testing.faults.database import Database
from testing.paths import ROOT
from testing.stack import Client, Stack

UNBOUNDED = {
    # Clients that send again at once must not meet a bound, and cut-off uploads are cleaned while a test waits.
    "PATCHVOTE_RATE_SUBMIT": "100000/min",
    "PATCHVOTE_RATE_READ": "100000/min",
    # Longer than a request may wait for a locked database between its files and its rows.
    "PATCHVOTE_ORPHAN_SECONDS": "30",
    "PATCHVOTE_CLEANING_SECONDS": "5",
    # Workers that measure for themselves could choose different number formats, which round differently.
    "PATCHVOTE_PRECISION": "float32",
}
SHORT_WAITS: dict[str, Any] = {"PATCHVOTE_LEASE_SECONDS": "5", "PATCHVOTE_RETRY_SECONDS": "1"}
"""Shorter than in production. `test_faults.py` proves the promised 15 seconds with the values of production."""

_LEASE_SECONDS = 10
"""The default of PATCHVOTE_LEASE_SECONDS."""


class Server(Protocol):
    """A PostgreSQL server of the test's own."""

    @property
    def url(self) -> str:
        """The URL of its database."""
        ...

    def kill(self) -> None:
        """Kill all its processes."""
        ...

    def start(self) -> None:
        """Start it and wait until it answers."""
        ...


class Keeper:
    """Keeps a process running as a supervisor on another machine does: starts it again when it dies."""

    PAUSE = 1.0

    def __init__(self, name: str, environment: dict[str, str], log: Path) -> None:
        """Start the process.

        Args:
            name: The process, as `manage.py serve` names it.
            environment: Its environment.
            log: The file to which its output is appended.
        """
        self._command = [sys.executable, "manage.py", "serve", name]
        self._environment = environment
        self._log = log
        self._stop = threading.Event()
        self._process = self._spawn()
        self._thread = threading.Thread(target=self._keep, name=f"keep-{name}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """The id of the current process, which may just have died."""
        return self._process.pid

    def stop(self) -> None:
        """Terminate the process and wait for it."""
        self._stop.set()
        self._thread.join()
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _keep(self) -> None:
        while not self._stop.wait(0.1):
            if self._process.poll() is not None and not self._stop.wait(self.PAUSE):
                self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)


class Installation(Stack):
    """`manage.py up` and, beside it, further inference workers and sweeps on the same data folder.

    Attributes:
        server: The PostgreSQL server, or None on SQLite.
        database: The database, read past the product.
        lease: Seconds after which a silent worker loses its jobs.
    """

    command = [sys.executable, "-m", "testing.up"]

    def __init__(
        self,
        folder: Path,
        champion: Path,
        *,
        workers: int = 2,
        sweeps: int = 2,
        server: Server | None = None,
        **environment: str,
    ) -> None:
        """Prepare an installation.

        Args:
            folder: The data folder.
            champion: The bundle that serves.
            workers: Inference workers, all together.
            sweeps: Sweeps, all together.
            server: A PostgreSQL server with a database for this installation alone; SQLite when None.
            environment: Further variables, such as `SHORT_WAITS`.
        """
        given = {"DATABASE_URL": server.url} if server else {}
        super().__init__(folder, **UNBOUNDED, **given, **environment)
        self.server = server
        self.database = Database(server.url if server else folder / "patchvote.sqlite3")
        self.lease = int(environment.get("PATCHVOTE_LEASE_SECONDS", _LEASE_SECONDS))
        self._champion = champion
        self._counts = {"inference": workers - 1, "sweep": sweeps - 1}
        self._keepers: dict[str, list[Keeper]] = {}

    def start(self) -> None:
        """Start all processes and wait until the last one is up."""
        super().start()
        self.supervisor.stopProcess("training")  # cases need none
        self.manage("register_bundle", str(self._champion), "--champion")
        self.database.keep_journal()
        for name, count in self._counts.items():
            logs = [self.folder / "log" / f"{name}-{number}.log" for number in range(count)]
            self._keepers[name] = [Keeper(name, self.environment, log) for log in logs]
        self.settled()

    def stop(self) -> int:
        """Stop all processes and return the exit status of `manage.py up`."""
        for keeper in [keeper for keepers in self._keepers.values() for keeper in keepers]:
            keeper.stop()
        return super().stop()

    @property
    def supervisor(self) -> Any:
        """The supervisor of the processes that `manage.py up` started."""
        return self.remote().supervisor

    def pids(self, name: str) -> list[int]:
        """Return the processes of a name that are up, supervised ones only once they count as started.

        The supervisor counts a process as broken that dies too often before that, and stops everything if it is an
        essential one. `tests/standalone/test_up.py` tests that.
        """
        supervised = [p["pid"] for p in self.supervisor.getAllProcessInfo() if p["name"] == name and _up(p)]
        return supervised + [keeper.pid for keeper in self._keepers.get(name, [])]

    def web_workers(self) -> list[int]:
        """Return the processes that answer requests."""
        master = self.processes()["web"]
        return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]

    def workers_alive(self) -> int:
        """Return the number of inference workers on the health page, 0 without an answer."""
        try:
            return int(requests.get(f"{self.url}/health/", timeout=30).json()["workers"]["inference"])
        except requests.RequestException:
            return 0

    def redis_answers(self) -> bool:
        """Return True if Redis can be used."""
        try:
            return bool(self.redis().ping())
        except redis_client.RedisError:
            return False

    def held(self) -> dict[int, dict[str, int]]:
        """Return by process id the analyses that the process works on, with the numbers of the attempts."""
        held: dict[int, dict[str, int]] = {}
        for row in self.database.rows("SELECT id, attempts, worker FROM cases_analysis WHERE state = 'running'"):
            held.setdefault(pid_of(row["worker"]), {})[row["id"]] = row["attempts"]
        return held

    def waiting(self) -> set[str]:
        """Return the analyses that no worker has claimed."""
        return {row["id"] for row in self.database.rows("SELECT id FROM cases_analysis WHERE state = 'queued'")}

    def settled(self) -> None:
        """Wait until all processes are up again that faults ended."""
        wanted = {"web": 1, "redis": 1, **{name: count + 1 for name, count in self._counts.items()}}
        for name, count in wanted.items():
            self.wait_for(f"{count} processes {name}", lambda name=name, count=count: len(self.pids(name)) == count)
        self.wait_for("all workers", lambda: self.workers_alive() >= wanted["inference"], 120)

    def connected(self, seconds: float = 60) -> Client:
        """Return an API client as soon as the web server answers."""

        def connect() -> Client | None:
            try:
                return self.client()
            except (requests.RequestException, AssertionError):
                return None

        found: Client = self.wait_for("the web server", connect, seconds)
        return found


def pid_of(worker: str) -> int:
    """Return the process id in a worker's name, 0 where there is none."""
    parts = worker.rsplit("-", 2)
    return int(parts[1]) if len(parts) == 3 else 0


def _up(process: Any) -> bool:
    return bool(process["pid"]) and process["statename"] == "RUNNING"
