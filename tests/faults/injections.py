"""The faults: each a context manager that begins a fault, and ends it where it lasts.

What a fault meets is noted, so that the journal of the database can say afterwards how long recovery took.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from random import Random

from tests.faults.installation import Installation, kill

LEASE_SECONDS = 10
HOUR = 3600


@dataclass
class Injection:
    """One fault that happened.

    Attributes:
        fault: Its name.
        began: Seconds since 1970.
        ended: The same, once it is over.
        held: The analyses that its victim worked on, with the number of the attempt.
        waiting: The analyses that waited when it was over.
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
        name: For people.
        of: Makes it happen to an installation.
        seconds: How long it lasts, from and to.
        postgres: Whether it needs PostgreSQL.
    """

    name: str
    of: Callable[[Installation, Random], AbstractContextManager[Injection]]
    seconds: tuple[float, float] = (0, 0)
    postgres: bool = False


def one_of(on: Installation, name: str, chance: Random) -> int:
    """A process of a name; one that was killed just now is waited for."""
    pids: list[int] = on.wait_for(f"a process {name}", lambda: on.pids(name), 60)
    return chance.choice(pids)


def busy_worker(on: Installation, chance: Random, seconds: float = 30) -> tuple[int, dict[str, int]]:
    """An inference worker, with what it works on: one that works, if any does within some seconds."""
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
    injection.held = on.held().get(pid, {})  # what it ended just before its death is none of it
    yield injection


@contextmanager
def frozen_worker(on: Installation, chance: Random) -> Iterator[Injection]:
    """An inference worker stands still, and goes on afterwards as if nothing had happened."""
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
    """A process that answers requests dies, with the requests that it was answering."""
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
    """Redis forgets everything."""
    if on.redis_answers():
        on.redis().flushall()
    injection = Injection("Redis flushed")
    yield injection
    _redis_is_back(on, injection)


@contextmanager
def redis_away(on: Installation, chance: Random) -> Iterator[Injection]:
    """Redis is not there."""
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
    """Redis takes connections and does not answer."""
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
    """The PostgreSQL server is killed, and started again when this is over."""
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

    Only that clock decides, always by comparing it with times in rows: so a step forward is the same as rows whose
    times step back.
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
    Fault("worker frozen", frozen_worker, (LEASE_SECONDS + 2, LEASE_SECONDS + 8)),
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
    """Those that can happen to an installation."""
    return [fault for fault in FAULTS if on.server or not fault.postgres]
