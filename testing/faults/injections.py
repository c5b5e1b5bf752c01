"""The faults: each is a context manager that begins a fault and ends it.

It notes what the fault hit, so that the journal of the database shows afterwards how long the recovery took.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from random import Random

from testing.faults.installation import Installation
from testing.processes import kill

HOUR = 3600


@dataclass
class Injection:
    """A fault that happened.

    Attributes:
        fault: The name of the fault.
        began: When it began, in seconds since 1970.
        ended: When it ended, in seconds since 1970; 0 for a fault that only begins.
        held: The analyses that its victim worked on, with the numbers of the attempts.
        waiting: The analyses that waited when it ended.
    """

    fault: str
    began: float = field(default_factory=time.time)
    ended: float = 0
    held: dict[str, int] = field(default_factory=dict)
    waiting: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: The name in reports.
        of: Makes the fault happen to an installation.
        seconds: The shortest and the longest duration.
        leases: The number of leases that are added to the duration.
        postgres: Whether it needs PostgreSQL.
    """

    name: str
    of: Callable[[Installation, Random], AbstractContextManager[Injection]]
    seconds: tuple[float, float] = (0, 0)
    leases: int = 0
    postgres: bool = False

    def duration(self, on: Installation, chance: Random) -> float:
        """Return a random duration in seconds."""
        return self.leases * on.lease + chance.uniform(*self.seconds)


def one_of(on: Installation, name: str, chance: Random) -> int:
    """Return the id of a process of a name; wait where the last one was just killed."""
    pids: list[int] = on.wait_for(f"a process {name}", lambda: on.pids(name), 60)
    return chance.choice(pids)


def busy_worker(on: Installation, chance: Random, seconds: float = 30) -> tuple[int, dict[str, int]]:
    """Return an inference worker and the analyses that it works on: a busy worker, if one is found in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        held = on.held()
        busy = sorted(held.keys() & set(on.pids("inference"))) if held else []
        if busy:
            pid = chance.choice(busy)
            return pid, held[pid]
        time.sleep(0.01)
    return one_of(on, "inference", chance), {}


@contextmanager
def killed_worker(on: Installation, chance: Random) -> Iterator[Injection]:
    """An inference worker dies."""
    pid, _ = busy_worker(on, chance)
    kill(pid)
    injection = Injection("worker killed")
    injection.held = on.held().get(pid, {})  # without what it ended just before its death
    yield injection


@contextmanager
def frozen_worker(on: Installation, chance: Random) -> Iterator[Injection]:
    """An inference worker freezes, and continues afterwards as if nothing had happened."""
    pid, _ = busy_worker(on, chance)
    kill(pid, signal.SIGSTOP)
    try:
        injection = Injection("worker frozen")
        injection.held = on.held().get(pid, {})
        yield injection
    finally:
        kill(pid, signal.SIGCONT)


@contextmanager
def killed_web_worker(on: Installation, chance: Random) -> Iterator[Injection]:
    """A process that answers requests dies together with its requests."""
    one_of(on, "web", chance)
    kill(chance.choice(on.web_workers() or [0]))
    yield Injection("web worker killed")


@contextmanager
def killed_web_master(on: Installation, chance: Random) -> Iterator[Injection]:
    """The web server dies."""
    kill(one_of(on, "web", chance))
    yield Injection("web server killed")


@contextmanager
def killed_sweep(on: Installation, chance: Random) -> Iterator[Injection]:
    """A sweep dies."""
    kill(one_of(on, "sweep", chance))
    yield Injection("sweep killed")


@contextmanager
def killed_redis(on: Installation, chance: Random) -> Iterator[Injection]:
    """Redis dies with all its messages and is started again."""
    kill(one_of(on, "redis", chance))
    injection = Injection("Redis killed")
    yield injection
    _redis_is_back(on, injection)


@contextmanager
def flushed_redis(on: Installation, chance: Random) -> Iterator[Injection]:
    """Redis loses all its messages."""
    if on.redis_answers():
        on.redis().flushall()
    injection = Injection("Redis flushed")
    yield injection
    _redis_is_back(on, injection)


@contextmanager
def redis_away(on: Installation, chance: Random) -> Iterator[Injection]:
    """Redis is stopped."""
    one_of(on, "redis", chance)
    on.supervisor.stopProcess("redis")
    injection = Injection("Redis away")
    try:
        yield injection
    finally:
        on.supervisor.startProcess("redis", False)
        _redis_is_back(on, injection)


@contextmanager
def redis_hangs(on: Installation, chance: Random) -> Iterator[Injection]:
    """Redis accepts connections and does not answer."""
    pid = one_of(on, "redis", chance)
    kill(pid, signal.SIGSTOP)
    injection = Injection("Redis hangs")
    try:
        yield injection
    finally:
        kill(pid, signal.SIGCONT)
        _redis_is_back(on, injection)


@contextmanager
def locked_database(on: Installation, chance: Random) -> Iterator[Injection]:
    """Another program holds the database's lock."""
    with on.database.transaction() as connection:
        if on.database.postgres:
            connection.execute("LOCK TABLE cases_case, cases_analysis IN ACCESS EXCLUSIVE MODE")
        injection = Injection("database locked")
        yield injection
    injection.ended = time.time()


@contextmanager
def restarted_database(on: Installation, chance: Random) -> Iterator[Injection]:
    """The PostgreSQL server is killed, and started again at the end."""
    assert on.server is not None
    on.server.kill()
    injection = Injection("database restarted")
    try:
        yield injection
    finally:
        on.server.start()
        injection.ended = time.time()


def step_clock(on: Installation, seconds: int) -> None:
    """Let the database's clock step.

    Patchvote only compares that clock with times in rows: so a step forward has the same effect as rows whose times
    step back.
    """
    shifts = []
    for table, columns in on.database.job_tables().items():
        moved = sorted(columns & {"lease_expires_at", "queued_at", "due_at"})
        settings = ", ".join(f"{column} = {on.database.shifted(column, -seconds)}" for column in moved)
        shifts.append(f"UPDATE {table} SET {settings} WHERE state IN ('queued', 'running')")
    on.database.change(*shifts, f"UPDATE jobs_worker SET seen_at = {on.database.shifted('seen_at', -seconds)}")


@contextmanager
def clock_forward(on: Installation, chance: Random) -> Iterator[Injection]:
    """The database's clock steps forward by an hour."""
    step_clock(on, HOUR)
    yield Injection("clock +1 h")


@contextmanager
def clock_back(on: Installation, chance: Random) -> Iterator[Injection]:
    """The database's clock steps back by an hour."""
    step_clock(on, -HOUR)
    yield Injection("clock -1 h")


def _redis_is_back(on: Installation, injection: Injection) -> None:
    on.wait_for("Redis", on.redis_answers, 60)
    injection.ended = time.time()
    injection.waiting = on.waiting()


FAULTS = [
    Fault("worker killed", killed_worker),
    Fault("worker frozen", frozen_worker, (2, 8), leases=1),
    Fault("web worker killed", killed_web_worker),
    Fault("web server killed", killed_web_master),
    Fault("sweep killed", killed_sweep),
    Fault("Redis killed", killed_redis),
    Fault("Redis flushed", flushed_redis),
    Fault("Redis away", redis_away, (2, 15)),
    Fault("Redis hangs", redis_hangs, (2, 10)),
    Fault("database locked", locked_database, (1, 8)),
    Fault("database restarted", restarted_database, (0, 3), postgres=True),
    Fault("clock +1 h", clock_forward),
    Fault("clock -1 h", clock_back),
]


def faults_for(on: Installation) -> list[Fault]:
    """Return the faults that can happen to an installation."""
    return [fault for fault in FAULTS if on.server or not fault.postgres]
