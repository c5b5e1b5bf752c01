"""Control of supervisord: start it, check whether the installation is ready, find dead processes, stop."""

from __future__ import annotations

import fcntl
import json
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from supervisor.states import ProcessStates
from supervisor.xmlrpc import SupervisorTransport

from patchvote.standalone import processes

STOP_SECONDS = 90
"""The time in which supervisord stops all processes; it stops them one by one and kills each after 15 seconds."""
LOG_LINES = 15


class AlreadyRunningError(RuntimeError):
    """An error: another installation uses the data folder."""


@contextmanager
def lock() -> Iterator[None]:
    """Lock the data folder for this installation.

    Raises:
        AlreadyRunningError: If it is locked, or if processes of an earlier start still run.
    """
    folder = processes.run_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyRunningError(
                f"Patchvote already runs on {settings.DATA_DIR}. For a second installation: "
                "make run PORT=… PATCHVOTE_DATA=…"
            ) from None
        if ProcessSupervisor.answers():
            raise AlreadyRunningError(
                f"Processes of an earlier start still run on {settings.DATA_DIR}. "
                f"Stop them first: kill $(cat {shlex.quote(str(folder / 'supervisord.pid'))})"
            )
        yield


class ProcessSupervisor:
    """A running supervisord."""

    def __init__(self) -> None:
        """Start supervisord, which starts all processes."""
        configuration = processes.write_configuration()
        self._daemon = subprocess.Popen(  # noqa: S603 (our own configuration)
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
            cwd=settings.DATA_DIR,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches only this process, which stops the others in order
        )

    @staticmethod
    def answers() -> bool:
        """Return whether a supervisord responds."""
        try:
            _remote().supervisor.getState()
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def dead_process(self) -> str | None:
        """Return the name of a process that supervisord has given up, or None."""
        if self._daemon.poll() is not None:
            return "supervisord"
        try:
            states: Any = _remote().supervisor.getAllProcessInfo()
        except (OSError, xmlrpc.client.Error):  # still starting, or busy
            return None
        for process in states:
            if process["state"] in {ProcessStates.FATAL, ProcessStates.UNKNOWN}:
                return str(process["name"])
        return None

    def stop(self) -> None:
        """Stop all processes in the reverse order of starting and wait for them."""
        if self._daemon.poll() is None:
            self._daemon.terminate()
        try:
            self._daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()


def missing_part() -> str | None:
    """Return the part that is not ready yet, or None if the installation is ready."""
    loopback = {"0.0.0.0": f"127.0.0.1:{settings.PORT}", "::": f"[::1]:{settings.PORT}"}  # noqa: S104 (only compared)
    address = f"http://{loopback.get(settings.HOST, settings.AUTHORITY)}/health/"
    request = urllib.request.Request(address, headers={"Host": "localhost"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        try:
            direct.open(request, timeout=5).close()
        except urllib.error.HTTPError as refusal:  # 503 says which part is missing
            return str(json.load(refusal)["status"])
    except (OSError, ValueError, KeyError) as error:
        return f"web server: {error}"
    return None


def last_lines(name: str) -> str:
    """Return the last lines of a process's log."""
    path: Path = processes.log_file(name)
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-LOG_LINES:])
    except OSError:
        return ""


def _remote() -> Any:
    transport = SupervisorTransport(None, None, f"unix://{processes.control_socket()}")
    return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
