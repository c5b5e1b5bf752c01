"""The promise, with real processes: an accepted case gets exactly one result, whichever process dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
import requests

from testing.faults.database import Database
from testing.faults.following import attempts, whole
from testing.faults.installation import Keeper, pid_of
from testing.images import encode, noise
from testing.processes import kill
from testing.stack import Client, Stack

pytestmark = [pytest.mark.faults, pytest.mark.slow]

AGAIN_SECONDS = 15
"""The promised time from the death of a worker until another one claims its jobs."""
SMALL = [encode(noise(240, 240, seed=seed)) for seed in range(20)]


@pytest.fixture(scope="module")
def client(stack: Stack) -> Client:
    return stack.client()


def test_a_case_goes_through_real_redis_and_a_real_worker(client: Client) -> None:
    case = client.finished(client.submit(encode(noise()), reference="through"))
    assert whole(case)
    assert len(case["images"][0]["analysis"]["votes"]) == 15
    assert case["images"][0]["analysis"]["attempts"] == 1


@pytest.fixture
def second_worker(stack: Stack) -> Iterator[Keeper]:
    """Another inference worker beside the supervised one."""
    keeper = Keeper("inference", stack.environment, stack.folder / "log" / "inference-2.log")
    workers = lambda: requests.get(f"{stack.url}/health/", timeout=30).json()["workers"]["inference"]  # noqa: E731
    stack.wait_for("two workers", lambda: workers() == 2, 90)
    yield keeper
    keeper.stop()


def test_the_jobs_of_a_killed_worker_are_claimed_again_in_time(
    stack: Stack, client: Client, second_worker: Keeper
) -> None:
    """With the lease and the sweep of production, for which docs/reliability.md promises the time."""
    assert not {"PATCHVOTE_LEASE_SECONDS", "PATCHVOTE_SWEEP_SECONDS"} & stack.environment.keys()
    database = Database(stack.environment.get("DATABASE_URL") or stack.folder / "patchvote.sqlite3")
    case = client.submit(*(encode(noise(1000, 800, seed=seed)) for seed in range(4)), reference="killed")
    running = "SELECT worker FROM cases_analysis WHERE state = 'running'"
    (holder, *_) = stack.wait_for("a worker to claim the analyses", lambda: database.rows(running), 30)
    victim = pid_of(holder["worker"])
    assert victim in {second_worker.pid, stack.processes()["inference"]}
    kill(victim)
    killed = time.time()
    case = client.finished(case)
    assert whole(case)
    assert set(attempts(case)) <= {1, 2}
    again = [image["analysis"]["started_at"] for image in case["images"] if image["analysis"]["attempts"] == 2]
    # A second attempt is claimed alone: the others wait for the first of them.
    assert datetime.fromisoformat(min(again)).timestamp() - killed < AGAIN_SECONDS


def test_a_flushed_broker_loses_nothing(stack: Stack, client: Client) -> None:
    worker = stack.processes()["inference"]
    os.kill(worker, signal.SIGSTOP)
    try:
        cases = [client.submit(image, reference="flushed") for image in SMALL[:5]]
        stack.redis().flushall()
    finally:
        os.kill(worker, signal.SIGCONT)
    assert all(whole(client.finished(case)) for case in cases)


def test_a_killed_broker_refuses_no_upload_and_loses_nothing(stack: Stack, client: Client) -> None:
    broker = stack.processes()["redis"]
    os.kill(broker, signal.SIGKILL)
    cases = [client.submit(image, reference="no broker") for image in SMALL[5:10]]
    finished = [client.finished(case) for case in cases]
    assert all(whole(case) for case in finished)
    assert stack.processes()["redis"] != broker


def test_a_killed_web_server_loses_nothing(stack: Stack, client: Client) -> None:
    cases = [client.submit(image, reference="no web") for image in SMALL[10:15]]
    os.kill(stack.processes()["web"], signal.SIGKILL)
    stack.wait_for("the web server", lambda: answers(client), 30)
    assert all(whole(client.finished(case)) for case in cases)


def answers(client: Client) -> bool:
    try:
        return client.get("health/").status_code == 200
    except requests.ConnectionError:
        return False
