"""What is different where PostgreSQL keeps the ledger: the server may die, and locks are on tables."""

from __future__ import annotations

import time
from random import Random

import pytest

from testing.faults.following import steps, whole
from testing.faults.injections import busy_worker, locked_database, restarted_database
from testing.faults.installation import Installation
from testing.faults.pictures import Pool
from testing.images import encode, noise

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def test_a_database_that_is_killed_loses_nothing(on_postgres: Installation, chance: Random, pool: Pool) -> None:
    client = on_postgres.connected()
    cases = [client.submit(file, reference="killed") for file in pool.files[:5]]
    cases.append(client.submit(encode(noise(1200, 1200)), reference="killed"))
    busy_worker(on_postgres, chance)
    with restarted_database(on_postgres, chance):
        time.sleep(3)
    client = on_postgres.connected()
    cases = [client.finished(case) for case in cases]
    assert all(whole(case) for case in cases)
    assert all(states.count("succeeded") == 1 for case in cases for states in steps(on_postgres, case).values())


def test_a_locked_table_delays_and_loses_nothing(on_postgres: Installation, chance: Random, pool: Pool) -> None:
    client = on_postgres.connected()
    case = client.submit(encode(noise(1200, 1200)), reference="locked")
    busy_worker(on_postgres, chance)
    with locked_database(on_postgres, chance):
        time.sleep(on_postgres.lease + 3)
    assert whole(client.finished(case))
    assert whole(client.finished(client.submit(pool.files[0], reference="after the lock")))
