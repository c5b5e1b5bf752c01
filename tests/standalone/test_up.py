"""`manage.py up`: what `make run` does."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from testing.paths import ROOT
from testing.stack import Stack


def test_environment_makes_a_secret_key_once(tmp_path: Path) -> None:
    from patchvote.config import data_folder

    key = data_folder.secret_key(tmp_path)
    assert len(key) >= 50
    assert data_folder.secret_key(tmp_path) == key
    assert (tmp_path / "secret_key").stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_a_long_data_folder_still_has_a_socket(tmp_path: Path) -> None:
    from patchvote.config import data_folder

    long = tmp_path / ("x" * 120)
    assert len(str(data_folder.private_redis_socket(long))) <= 100
    assert data_folder.private_redis_socket(Path("/d")) == Path("/d/run/redis.sock")


def run_up(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT, env={**os.environ, "PATCHVOTE_DATA": str(tmp_path / "data"), **environment},
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run_up(tmp_path, PORT=str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "Choose another: make run PORT=" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder")
    done = run_up(tmp_path)
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.django_db
def test_the_first_admin_is_made_once(capsys: Any) -> None:
    from patchvote.accounts.models import User
    from patchvote.standalone import setup

    first = setup.make_first_admin()
    assert first is not None
    assert first.password
    assert User.objects.get().check_password(first.password)
    assert setup.make_first_admin() is None
    User.objects.update(is_superuser=False)
    assert setup.make_first_admin() is None  # the name is taken


@pytest.mark.slow
def test_a_closed_terminal_stops_everything(tmp_path: Path) -> None:
    """And a proxy in the environment is not asked for one's own machine."""
    stack = Stack(tmp_path / "data", http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9")
    terminal, end = os.openpty()
    heard = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    process = subprocess.Popen(
        [sys.executable, "manage.py", "up"], cwd=ROOT, env=stack.environment, stdout=end, stderr=end, stdin=end,
        start_new_session=True,
    )  # fmt: skip
    signal.signal(signal.SIGHUP, heard)
    os.close(end)
    printed = b""
    while b"is ready" not in printed:  # comes at once, not when a buffer is full
        printed += os.read(terminal, 1000)
    running = stack.processes()
    os.close(terminal)
    process.send_signal(signal.SIGHUP)
    process.wait(60)
    assert not any(Path(f"/proc/{pid}").exists() for pid in running.values())
    assert stack.folder.stat().st_mode & 0o077 == 0
    if "DATABASE_URL" not in stack.environment:
        assert (stack.folder / "patchvote.sqlite3").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_under_nohup_a_closed_terminal_stops_nothing(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "data")
    printed = tmp_path / "printed"
    with printed.open("wb") as file:
        process = subprocess.Popen(
            ["nohup", sys.executable, "manage.py", "up"],
            cwd=ROOT, env=stack.environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip
    stack.wait_for("to be ready", lambda: "is ready" in printed.read_text(), seconds=180)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    assert "Stopping" not in printed.read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert "Stopped" in printed.read_text()


@pytest.mark.slow
def test_two_installations_start_twice_and_stop_clean(tmp_path: Path) -> None:
    """Side by side, one of them below a folder whose path is too long for a socket."""
    one, two = Stack(tmp_path / "one"), Stack(tmp_path / ("100% long " * 12).strip() / "two")
    two.folder.parent.mkdir(parents=True)
    try:
        one.start()
        assert "The first admin was made" in one.printed()
        assert one.admin_password not in one.printed()
        two.start()
        refused = subprocess.run(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT, env={**one.environment, "PORT": "0"}, check=False, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert "already runs" in refused.stderr
        running = one.processes()
        assert set(running) == {"redis", "web", "inference", "training", "sweep"}
        health = one.client().get("health/")
        assert health.status_code == 200
    finally:
        statuses = [stack.stop() for stack in (one, two)]
    assert statuses == [0, 0]
    assert "Stopped" in one.printed()
    assert not any(Path(f"/proc/{pid}").exists() for pid in running.values())
    one.start()
    assert "The first admin" not in one.printed()
    assert one.stop() == 0


@pytest.mark.slow
def test_a_process_that_dies_for_good_stops_everything(tmp_path: Path) -> None:
    """A web server that cannot start (its port is taken in the moment after the check)."""
    stack = Stack(tmp_path / "data", PATCHVOTE_HOST="127.0.0.1")
    stack.start()
    try:
        gunicorn = stack.processes()["web"]
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            os.kill(gunicorn, 9)
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

            def stolen() -> Any:
                try:
                    thief.bind(("127.0.0.1", stack.port))
                except OSError:
                    return False
                thief.listen()
                return True

            try:
                Stack.wait_for("the port", stolen, 3)
            except AssertionError:
                pytest.skip("the web server was restarted before the port could be taken")
            assert stack._process is not None
            assert stack._process.wait(90) == 1
        assert "web died and could not be restarted" in stack._log.read_text()
    finally:
        if stack._process is not None and stack._process.poll() is None:
            stack.stop()


def test_a_device_that_is_not_there_is_said_before_anything_starts(tmp_path: Path) -> None:
    done = run_up(tmp_path, PATCHVOTE_DEVICE="cuda:99")
    assert done.returncode == 1
    assert "PATCHVOTE_DEVICE=cuda:99: The device cuda:99 is not there: PyTorch finds" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "patchvote.sqlite3").exists()


@pytest.mark.slow
def test_uploads_go_on_however_often_inference_dies(tmp_path: Path, png: bytes) -> None:
    stack = Stack(tmp_path / "data")
    stack.start()
    try:
        client = stack.client()
        killed = set()

        def kill_at_once() -> bool:
            pid = stack.processes()["inference"]
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            return len(killed) > 5  # of what is essential the fifth in a row would be the last

        Stack.wait_for("inference to be killed at its start", kill_at_once)
        assert client.finished(client.submit(png))["state"] == "succeeded"
    finally:
        assert stack.stop() == 0
