"""An installation that takes faults: further processes beside the supervised ones, its database, its Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

import redis as redis_client
import requests

from testing.paths import ROOT
from testing.stack import Client, Stack
from tests.faults.database import Database

QUICK = {
    # Clients that send again at once must not meet a bound, and cut-off uploads are cleaned while a test waits.
    "PATCHVOTE_RATE_SUBMIT": "100000/min",
    "PATCHVOTE_RATE_READ": "100000/min",
    # Longer than a request may wait for a locked database between its files and its rows.
    "PATCHVOTE_ORPHAN_SECONDS": "30",
    "PATCHVOTE_CLEANING_SECONDS": "5",
    # Workers that measure for themselves could choose different number formats, which round differently.
    "PATCHVOTE_PRECISION": "float32",
}


class Server(Protocol):
    """A PostgreSQL server of the test's own."""

    url: str

    def kill(self) -> None: ...
    def start(self) -> None: ...


class Keeper:
    """Keeps a process running as a supervisor on another machine would: starts it again when it dies."""

    PAUSE = 1.0

    def __init__(self, name: str, environment: dict[str, str], log: Path) -> None:
        self._command = [sys.executable, "manage.py", "serve", name]
        self._environment = environment
        self._log = log
        self._stop = threading.Event()
        self._process = self._spawn()
        self._thread = threading.Thread(target=self._keep, name=f"keep-{name}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Of the process as it is now; it may just have died."""
        return self._process.pid

    def stop(self) -> None:
        """End it in order."""
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

    Args:
        folder: The data folder.
        champion: The bundle that serves.
        workers: Inference workers, all together.
        sweeps: Sweeps, all together.
        server: A PostgreSQL server with a database for this installation alone; SQLite when None.
        environment: Further variables.
    """

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
        given = {"DATABASE_URL": server.url} if server else {}
        super().__init__(folder, **QUICK, **given, **environment)
        self.server = server
        self.database = Database(server.url if server else folder / "patchvote.sqlite3")
        self._champion = champion
        self._counts = {"inference": workers - 1, "sweep": sweeps - 1}
        self._keepers: dict[str, list[Keeper]] = {}

    def start(self) -> None:
        super().start()
        self.supervisor.stopProcess("training")  # cases need none
        self.manage("register_bundle", str(self._champion), "--champion")
        self.database.keep_journal()
        for name, count in self._counts.items():
            logs = [self.folder / "log" / f"{name}-{number}.log" for number in range(count)]
            self._keepers[name] = [Keeper(name, self.environment, log) for log in logs]
        self.settled()

    def stop(self) -> int:
        for keeper in [keeper for keepers in self._keepers.values() for keeper in keepers]:
            keeper.stop()
        return super().stop()

    @property
    def supervisor(self) -> Any:
        """The supervisor of the processes that `manage.py up` started."""
        return self.remote().supervisor

    def pids(self, name: str) -> list[int]:
        """The processes of a name that are up; supervised ones only once their supervisor trusts them.

        One that is killed again and again within its first ten seconds counts as broken: an essential one stops
        everything, any other is started again more and more rarely. Those are other promises.
        """
        supervised = [p["pid"] for p in self.supervisor.getAllProcessInfo() if p["name"] == name and _up(p)]
        return supervised + [keeper.pid for keeper in self._keepers.get(name, [])]

    def web_workers(self) -> list[int]:
        """The processes that answer requests."""
        master = self.processes()["web"]
        return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]

    def workers_alive(self) -> int:
        """Inference workers, as the health page counts them."""
        try:
            return int(requests.get(f"{self.url}/health/", timeout=30).json()["workers"]["inference"])
        except requests.RequestException:
            return 0

    def redis_answers(self) -> bool:
        """True if Redis can be used."""
        try:
            return bool(self.redis().ping())
        except redis_client.RedisError:
            return False

    def held(self) -> dict[int, dict[str, int]]:
        """For each process, the analyses that it works on, with the number of the attempt."""
        held: dict[int, dict[str, int]] = {}
        for row in self.database.rows("SELECT id, attempts, worker FROM cases_analysis WHERE state = 'running'"):
            held.setdefault(pid_of(row["worker"]), {})[row["id"]] = row["attempts"]
        return held

    def waiting(self) -> set[str]:
        """The analyses that nobody works on yet."""
        return {row["id"] for row in self.database.rows("SELECT id FROM cases_analysis WHERE state = 'queued'")}

    def settled(self) -> None:
        """Wait until everything runs as it should: what died lately is back."""
        wanted = {"web": 1, "redis": 1, **{name: count + 1 for name, count in self._counts.items()}}
        for name, count in wanted.items():
            self.wait_for(f"{count} processes {name}", lambda name=name, count=count: len(self.pids(name)) == count)
        self.wait_for("all workers", lambda: self.workers_alive() >= wanted["inference"], 120)

    def connected(self, seconds: float = 60) -> Client:
        """An API client, as soon as the web server answers."""

        def connect() -> Client | None:
            try:
                return self.client()
            except (requests.RequestException, AssertionError):
                return None

        found: Client = self.wait_for("the web server", connect, seconds)
        return found


def pid_of(worker: str) -> int:
    """The process that a worker's name names."""
    parts = worker.rsplit("-", 2)
    return int(parts[1]) if len(parts) == 3 else 0


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process, which may be gone; 0 would be the test's own process group."""
    if pid:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return


def alive(pid: int) -> bool:
    """True until a process has ended; one whose parent has not asked yet has ended too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _up(process: Any) -> bool:
    return bool(process["pid"]) and process["statename"] == "RUNNING"
