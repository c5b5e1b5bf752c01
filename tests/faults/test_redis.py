"""Redis stops, hangs and comes back: uploads are accepted all the time, and workers continue by themselves."""

from __future__ import annotations

import time
from random import Random

import pytest

from testing.faults.following import whole, works
from testing.faults.injections import busy_worker, redis_away, redis_hangs
from testing.faults.installation import Installation
from testing.faults.pages import SignedIn
from testing.faults.pictures import Pool
from testing.images import encode, noise
from testing.stack import Client

pytestmark = [pytest.mark.faults, pytest.mark.slow]

BACK_SECONDS = 10
"""The promised time from the return of Redis until a worker claims waiting cases."""


def test_without_redis_cases_are_taken_and_the_page_says_that_they_wait(
    installation: Installation, client: Client, chance: Random, pool: Pool
) -> None:
    person = SignedIn(installation)
    with redis_away(installation, chance) as away:
        time.sleep(2)  # long enough for the workers to notice
        cases = [client.submit(file, reference="no Redis") for file in pool.files[:3]]
        page = f"/cases/{cases[-1]['id']}/"
        installation.wait_for("the page to say so", lambda: "The analysis is delayed" in person.get(page).text, 20)
    finished = [client.finished(case) for case in cases]
    assert all(whole(case) for case in finished)
    claims = [step for step in installation.database.journal() if step["analysis"] in away.waiting]
    assert claims and claims[0]["at"] - away.ended < BACK_SECONDS


def test_workers_go_on_after_redis_hung_while_they_worked(
    installation: Installation, client: Client, chance: Random, pool: Pool
) -> None:
    case = client.submit(encode(noise(1200, 1200)), reference="Redis hangs")
    pid, held = busy_worker(installation, chance)
    assert held, "the worker was not at work"
    with redis_hangs(installation, chance):
        case = client.finished(case)
        time.sleep(5)  # longer than the worker waits for Redis's answer to what it says at the end
    assert whole(case)
    works(installation, client, pid, pool.files[0])


def test_redis_frozen_for_a_moment_delays_no_answer(
    installation: Installation, client: Client, chance: Random, pool: Pool
) -> None:
    with redis_hangs(installation, chance):
        started = time.monotonic()
        case = client.submit(pool.files[0], reference="Redis hangs")
        assert time.monotonic() - started < 20
    assert whole(client.finished(case))
