"""`manage.py up`, which `make run` executes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from testing.paths import ROOT
from testing.processes import alive
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


@pytest.mark.slow
def test_a_device_that_is_not_there_is_said_before_anything_starts(tmp_path: Path) -> None:
    done = run_up(tmp_path, PATCHVOTE_DEVICE="cuda:99")
    assert done.returncode == 1
    assert "PATCHVOTE_DEVICE=cuda:99: The device cuda:99 does not exist: PyTorch finds" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "patchvote.sqlite3").exists()


@pytest.mark.django_db
def test_the_first_admin_is_made_once(capsys: Any) -> None:
    from patchvote.accounts.models import User
    from patchvote.standalone import setup

    first = setup.create_first_admin()
    assert first is not None
    assert first.password
    assert User.objects.get().check_password(first.password)
    assert setup.create_first_admin() is None
    User.objects.update(is_superuser=False)
    assert setup.create_first_admin() is None  # the name is taken


class NewStack(Stack):
    """An installation whose first start sets up the data folder."""

    prepared = False


class InTerminal:
    """An installation that was started in a terminal of its own, on an empty data folder.

    Attributes:
        stack: The installation.
        printed: The lines until it was ready; they come at once, not when a buffer is full.
        process: `manage.py up`.
    """

    def __init__(self, folder: Path) -> None:
        # A proxy is not asked for the machine's own health page.
        proxy = "http://127.0.0.1:9"
        self.stack = NewStack(folder, http_proxy=proxy, HTTP_PROXY=proxy, PATCHVOTE_RETRY_SECONDS="0")
        self._terminal, end = os.openpty()
        heard = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "up"],
            cwd=ROOT, env=self.stack.environment, stdout=end, stderr=end, stdin=end, start_new_session=True,
        )  # fmt: skip
        signal.signal(signal.SIGHUP, heard)
        os.close(end)
        self.printed = b""
        while b"is ready" not in self.printed:
            self.printed += os.read(self._terminal, 1000)
        self.open = True

    def close(self) -> None:
        """Close the terminal, which sends SIGHUP, and wait until `manage.py up` has ended."""
        if self.open:
            self.open = False
            os.close(self._terminal)
            self.process.send_signal(signal.SIGHUP)
            self.process.wait(120)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InTerminal]:
    """The tests of this module share three starts: this one, one under nohup and a second one on this data folder."""
    running = InTerminal(tmp_path_factory.mktemp("up") / "data")
    yield running
    running.close()


@pytest.mark.slow
def test_the_first_start_makes_an_admin_and_starts_all_processes(terminal: InTerminal) -> None:
    assert b"The first admin was created" in terminal.printed
    assert terminal.stack.admin_password.encode() not in terminal.printed
    assert set(terminal.stack.processes()) == {"redis", "web", "inference", "training", "sweep"}
    assert terminal.stack.client().get("health/").status_code == 200


@pytest.mark.slow
def test_nobody_else_can_read_the_data_folder(terminal: InTerminal) -> None:
    stack = terminal.stack
    assert stack.folder.stat().st_mode & 0o077 == 0
    if "DATABASE_URL" not in stack.environment:
        assert (stack.folder / "patchvote.sqlite3").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_second_installation_on_the_same_data_folder_is_refused(terminal: InTerminal) -> None:
    refused = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT, env={**terminal.stack.environment, "PORT": "0"},
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "already runs" in refused.stderr
    assert refused.returncode == 1


@pytest.mark.slow
def test_under_nohup_a_closed_terminal_stops_nothing(terminal: InTerminal, tmp_path: Path) -> None:
    """A second installation beside the first, below a folder whose path is too long for a socket."""
    stack = Stack(tmp_path / ("100% long " * 12).strip() / "data")
    stack.prepare()
    printed = tmp_path / "printed"
    with printed.open("wb") as file:
        process = subprocess.Popen(
            ["nohup", sys.executable, "manage.py", "up"],
            cwd=ROOT, env=stack.environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
        )  # fmt: skip
    stack.wait_for("to be ready", lambda: "is ready" in printed.read_text(), seconds=180)
    assert stack.client().get("health/").status_code == 200
    assert terminal.stack.client().get("health/").status_code == 200
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
    assert "Stopping" not in printed.read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
    assert "Stopped" in printed.read_text()


def kill_at_each_start(stack: Stack, name: str, times: int) -> int:
    """Kill a supervised process each time it starts, until this is enough or its supervisor gives it up.

    Args:
        stack: The installation.
        name: The process.
        times: The number of kills that is enough.

    Returns:
        The number of kills.
    """
    killed: set[int] = set()

    def over() -> bool:
        try:
            process = stack.remote().supervisor.getProcessInfo(name)
        except (OSError, xmlrpc.client.Error):  # the installation has ended
            return True
        if process["pid"] not in {0, *killed}:
            killed.add(process["pid"])
            with suppress(ProcessLookupError):
                os.kill(process["pid"], signal.SIGKILL)
        return process["statename"] == "FATAL" or len(killed) >= times

    stack.wait_for(f"{name} to be killed {times} times", over)
    return len(killed)


@pytest.mark.slow
def test_uploads_go_on_however_often_inference_dies(terminal: InTerminal, png: bytes) -> None:
    client = terminal.stack.client()
    assert kill_at_each_start(terminal.stack, "inference", 6) == 6  # the web server would not be started again
    assert client.finished(client.submit(png))["state"] == "succeeded"


@pytest.mark.slow
def test_a_closed_terminal_stops_everything(terminal: InTerminal) -> None:
    running = terminal.stack.processes()
    terminal.close()
    assert not any(alive(pid) for pid in running.values())


@pytest.mark.slow
def test_a_process_that_dies_for_good_stops_everything(terminal: InTerminal) -> None:
    """On the second start on a data folder, which makes no admin."""
    terminal.close()
    stack = terminal.stack
    stack.start()
    assert "The first admin" not in stack.printed()
    running = stack.processes()
    assert kill_at_each_start(stack, "web", 20) in {5, 6}  # the first kill counts if the server was up for long
    assert stack.wait(120) == 1
    assert "web died and could not be restarted" in stack.log()
    assert not any(alive(pid) for pid in running.values())
