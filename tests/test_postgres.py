"""The private PostgreSQL server of tests: what was committed outlives its death, and nothing of it stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import dj_database_url
import psycopg
import pytest

from testing.postgres import MISSING, Postgres, _children, _running
from testing.stack import Stack

ROOT = Path(__file__).parents[1]

needs_a_server = pytest.mark.skipif(not Postgres.installed(), reason=MISSING)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


def rows(server: Postgres) -> int:
    with psycopg.connect(server.url) as connection:
        found = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert found is not None
    return int(found[0])


@needs_a_server
def test_django_finds_it_by_its_url(server: Postgres) -> None:
    config = dj_database_url.parse(server.url)
    assert (config["HOST"], config["NAME"], config["USER"]) == (str(server.folder), "patchvote", "patchvote")
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    assert server.folder.stat().st_mode & 0o077 == 0


@needs_a_server
def test_what_was_committed_outlives_restart_and_kill(server: Postgres) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (number integer)")
    for count, end in enumerate((server.restart, server.kill, server.stop), start=1):
        with psycopg.connect(server.url) as connection:
            connection.execute("INSERT INTO kept VALUES (1)")
        with psycopg.connect(server.url) as open_one, contextlib.suppress(psycopg.OperationalError):
            open_one.execute("INSERT INTO kept VALUES (2)")  # never committed
            before = [server.pid, *_children(server.pid)]
            end()
            assert not set(before) & set(_running())
            open_one.execute("SELECT 1")
        if not server.pid:
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(server.url)
            server.start()
        assert rows(server) == count


@needs_a_server
def test_two_servers_side_by_side_leave_nothing(tmp_path: Path, server: Postgres) -> None:
    with Postgres(tmp_path) as other:
        assert other.url != server.url
        folder, pids = other.folder, [other.pid, *_children(other.pid)]
        assert len(pids) > 3
    assert not folder.exists()
    assert not set(pids) & set(_running())
    assert "ready to accept connections" in (tmp_path / "postgres.log").read_text()


@needs_a_server
def test_each_stack_has_a_database_of_its_own(
    tmp_path: Path, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", server.url)
    stacks = [Stack(tmp_path / name) for name in ("one", "two")]
    urls = [stack.environment["DATABASE_URL"] for stack in stacks]
    assert len({server.url, *urls}) == 3
    left_open = psycopg.connect(urls[0])
    stacks.clear()
    for url in urls:
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(url)
    left_open.close()
    assert Stack(tmp_path / "given", DATABASE_URL="postgresql://h/n").environment["DATABASE_URL"].endswith("//h/n")


def test_without_a_url_a_stack_takes_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert "DATABASE_URL" not in Stack(tmp_path / "data").environment


@pytest.mark.parametrize(("query", "timeout"), [("", "3"), ("?connect_timeout=9", "9")])
def test_a_host_that_is_away_is_not_waited_for(query: str, timeout: str) -> None:
    code = "from patchvote.config import settings; print(settings.DATABASES['default']['OPTIONS']['connect_timeout'])"
    environment = {**os.environ, "DATABASE_URL": f"postgresql://user@host/name{query}"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == timeout


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "testing.postgres", *words]


@needs_a_server
def test_the_command_gives_a_server_to_another_command() -> None:
    code = """
import os, psycopg, sys
print(os.environ["DATABASE_URL"])
psycopg.connect(os.environ["DATABASE_URL"])
sys.exit(7)
"""
    done = subprocess.run(
        command(sys.executable, "-c", code), cwd=ROOT, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 7, done.stderr
    assert "/pv-pg-" in done.stdout.replace("%2F", "/")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(done.stdout.strip())


@needs_a_server
def test_a_command_that_is_told_to_stop_takes_its_server_along() -> None:
    code = "import os, time; print(os.environ['DATABASE_URL'], flush=True); time.sleep(300)"
    with subprocess.Popen(command(sys.executable, "-c", code), cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        alarm = threading.Timer(120, running.kill)
        alarm.start()
        url = running.stdout.readline().strip()
        alarm.cancel()
        running.terminate()
        assert running.wait(60) == 128 + signal.SIGTERM
    assert not Path(dj_database_url.parse(url)["HOST"]).exists()


def test_where_no_server_is_installed_the_command_says_so(tmp_path: Path) -> None:
    code = "import sys; from testing import postgres; postgres.ELSEWHERE = (); sys.exit(postgres.main(['--installed']))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PATH": str(tmp_path)},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert MISSING in done.stderr
