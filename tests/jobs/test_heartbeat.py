"""A worker says that it is there for as long as it lives, whatever fails meanwhile."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from patchvote.jobs import heartbeat, ledger
from patchvote.jobs.models import Worker
from patchvote.jobs.signals import worker_beating


@pytest.fixture
def beating(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts to beat ten times a second; ends it with the test."""
    monkeypatch.setattr(Worker, "HEARTBEAT", timedelta(seconds=0.1))
    monkeypatch.setattr(heartbeat, "_stop", threading.Event())
    before = set(threading.enumerate())
    yield lambda: heartbeat.start("inference")
    heartbeat.stop()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)


def seen(seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if Worker.objects.filter(pk=heartbeat.NAME).exists():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError("away"), RuntimeError("can't start new thread")])
def test_a_worker_that_starts_without_a_database_is_there_once_it_is_back(
    beating: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    beat = heartbeat.beat
    tries: list[int] = []

    def away(queue: str) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise error
        beat(queue)

    monkeypatch.setattr(heartbeat, "beat", away)
    beating()
    assert seen()


@pytest.mark.django_db(transaction=True)
def test_a_listener_that_fails_ends_no_heartbeat(beating: Any) -> None:
    heard: list[int] = []

    def fails(**_: Any) -> None:
        heard.append(1)
        raise RuntimeError("no")

    worker_beating.connect(fails)
    try:
        beating()
        assert seen()
        end = time.monotonic() + 5
        while len(heard) < 3 and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        worker_beating.disconnect(fails)
    assert len(heard) >= 3


def test_renewing_goes_on_after_any_error(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.JOB_LEASE = timedelta(seconds=0.15)
    tries: list[int] = []

    def fails(_jobs: Any) -> None:
        tries.append(1)
        raise RuntimeError("no")

    monkeypatch.setattr(ledger, "renew", fails)
    with ledger.renewing([]):
        time.sleep(0.6)
    assert len(tries) >= 3
