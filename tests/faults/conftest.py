"""Installations that take faults."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from random import Random

import pytest

from testing.faults.installation import SHORT_WAITS, Installation
from testing.faults.pictures import Pool
from testing.stack import Client


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return Pool(tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Iterator[Installation]:
    """Two inference workers and two sweeps on SQLite."""
    running = Installation(tmp_path_factory.mktemp("faults") / "data", pool.bundle, **SHORT_WAITS)
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Iterator[Installation]:
    """The same on a PostgreSQL server of its own, where PostgreSQL is installed."""
    from testing.postgres import MISSING, Postgres

    if not Postgres.installed():
        pytest.skip(MISSING)
    folder = tmp_path_factory.mktemp("faults-postgres")
    with Postgres(folder) as server:
        running = Installation(folder / "data", pool.bundle, server=server, **SHORT_WAITS)
        running.start()
        yield running
        assert running.stop() == 0


@pytest.fixture
def client(installation: Installation) -> Client:
    """An API client, as soon as all processes are up again that another test killed."""
    installation.settled()
    return installation.connected()


@pytest.fixture
def chance() -> Random:
    return Random(0)


@pytest.fixture
def seed() -> int:
    """The seed of random faults: always the same unless SEED is set. `make soak` draws its own."""
    chosen = int(os.environ.get("SEED", "2027"))
    sys.stdout.write(f"SEED={chosen}\n")
    return chosen
