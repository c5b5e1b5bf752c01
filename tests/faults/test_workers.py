"""Workers that die, freeze or have to stop, and several of them at once: each analysis has one result."""

from __future__ import annotations

import signal
import time
from random import Random

import pytest

from testing.faults.following import attempts, steps, whole, works
from testing.faults.injections import busy_worker, clock_back, frozen_worker, killed_worker, step_clock
from testing.faults.installation import Installation, pid_of
from testing.faults.pictures import Pool
from testing.images import encode, noise
from testing.processes import alive, kill
from testing.stack import Client

pytestmark = [pytest.mark.faults, pytest.mark.slow]

STOP_SECONDS = 15
"""The promised time from SIGTERM until a worker has ended. A supervisor kills a worker that takes longer."""


def large(count: int, side: int = 1200) -> list[bytes]:
    """Return images that take a second or more each."""
    return [encode(noise(side, side, seed=seed)) for seed in range(count)]


def test_a_late_result_is_discarded(installation: Installation, client: Client, chance: Random, pool: Pool) -> None:
    case = client.submit(*large(1), reference="frozen")
    with frozen_worker(installation, chance) as frozen:
        assert frozen.held, "the worker was not at work"
        case = client.finished(case)
    victim = next(pid_of(step["worker"]) for step in installation.database.journal() if step["analysis"] in frozen.held)
    works(installation, client, victim, pool.files[0])  # by then it has come to the end of what it held
    assert whole(case) and attempts(case) == [2]
    assert list(steps(installation, case).values()) == [["running", "queued", "running", "succeeded"]]
    assert client.get(case["url"]).json() == case


def test_a_worker_that_gets_sigterm_ends_in_time_and_loses_nothing(
    installation: Installation, client: Client, chance: Random
) -> None:
    case = client.submit(*large(12), reference="told to stop")
    pid, held = busy_worker(installation, chance)
    assert held
    kill(pid, signal.SIGTERM)
    told = time.monotonic()
    installation.wait_for("the worker to stop", lambda: not alive(pid), 60)
    stopped = time.monotonic() - told
    case = client.finished(case, 240)
    assert whole(case) and max(attempts(case)) <= 2
    assert stopped < STOP_SECONDS


def test_two_workers_and_two_sweeps_do_nothing_twice(installation: Installation, client: Client, pool: Pool) -> None:
    assert installation.wait_for("both workers", lambda: len(installation.pids("inference")) == 2)
    seen = len(installation.database.journal())
    cases = [client.submit(*pool.files[start : start + 3], reference="both") for start in range(0, 30, 3)]
    cases += [client.submit(*large(3, side=600), reference="both") for _ in range(4)]
    cases = [client.finished(case) for case in cases]
    assert all(whole(case) for case in cases)
    assert {number for case in cases for number in attempts(case)} == {1}
    assert all(step == ["running", "succeeded"] for case in cases for step in steps(installation, case).values())
    assert len({step["worker"] for step in installation.database.journal()[seen:]} - {""}) == 2


def test_a_step_of_the_clock_forward_ends_no_job_twice(installation: Installation, client: Client) -> None:
    case = client.submit(*large(3), reference="clock forward")
    busy_worker(installation, Random(0))
    step_clock(installation, 3600)
    case = client.finished(case, 180)
    assert whole(case)
    assert all(states.count("succeeded") == 1 for states in steps(installation, case).values())


def test_a_step_of_the_clock_back_does_not_hold_up_the_jobs_of_the_dead(
    installation: Installation, client: Client, chance: Random
) -> None:
    case = client.submit(*large(1), reference="clock back")
    with killed_worker(installation, chance) as killed, clock_back(installation, chance):
        assert killed.held, "the worker was not at work"
    assert whole(client.finished(case, 90))
