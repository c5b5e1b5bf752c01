"""Starting supervisord, waiting until everything is up, and stopping when a process dies for good."""

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
"""Time for supervisord to stop all processes, one after the other, each of which it kills after 15 seconds."""
LOG_LINES = 15


class AlreadyRunningError(RuntimeError):
    """Another Patchvote serves this data folder."""


@contextmanager
def lock() -> Iterator[None]:
    """Hold the data folder for this installation alone.

    Raises:
        AlreadyRunningError: If it is held already.
    """
    folder = processes.run_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyRunningError(
                f"Patchvote already runs on {settings.DATA_DIR}. For a second one: make run PORT=… PATCHVOTE_DATA=…"
            ) from None
        if ProcessSupervisor.answers():
            raise AlreadyRunningError(
                f"Patchvote's processes still run on {settings.DATA_DIR}, though what started them is gone. "
                f"Stop them first: kill $(cat {shlex.quote(str(folder / 'supervisord.pid'))})"
            )
        yield


class ProcessSupervisor:
    """A running supervisord."""

    def __init__(self) -> None:
        """Start it, and with it all processes."""
        configuration = processes.write_configuration()
        self._daemon = subprocess.Popen(  # noqa: S603 (our own configuration)
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
            cwd=settings.DATA_DIR,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches this process alone, which stops the others in order
        )

    @staticmethod
    def answers() -> bool:
        """True if a supervisord is there."""
        try:
            _remote().supervisor.getState()
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def dead(self) -> str | None:
        """The name of a process that died for good, or None."""
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
        """Stop all processes, the last started first, and wait for them."""
        if self._daemon.poll() is None:
            self._daemon.terminate()
        try:
            self._daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()


def missing() -> str | None:
    """What is not up yet, or None when everything is."""
    anywhere = {"0.0.0.0": f"127.0.0.1:{settings.PORT}", "::": f"[::1]:{settings.PORT}"}  # noqa: S104 (only compared)
    address = f"http://{anywhere.get(settings.HOST, settings.AUTHORITY)}/health/"
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
    """The end of a process's log."""
    path: Path = processes.log_file(name)
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-LOG_LINES:])
    except OSError:
        return ""


def _remote() -> Any:
    transport = SupervisorTransport(None, None, f"unix://{processes.control_socket()}")
    return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
