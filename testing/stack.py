"""A whole installation that runs as an operator starts it, and a client of its API."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
import weakref
import xmlrpc.client
from pathlib import Path
from typing import Any

import requests
from supervisor.xmlrpc import SupervisorTransport

from testing.paths import ROOT
from testing.postgres import create_database, drop_database
from testing.prepared import ADMIN_PASSWORD, copy_prepared
from testing.processes import alive


class Stack:
    """An installation, started by `manage.py up` with its own data folder and port.

    Where DATABASE_URL names a PostgreSQL server, it uses a new database there, else SQLite in its data folder.
    """

    admin_password = ADMIN_PASSWORD
    command = [sys.executable, "manage.py", "up"]
    prepared = True
    """Whether the first start finds a data folder that is set up already: this saves 15 seconds of processor time."""

    def __init__(self, folder: Path, **environment: str) -> None:
        """Choose a port and a database.

        Args:
            folder: The data folder.
            environment: Environment variables of the installation.
        """
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.environment = {
            **{k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL"}},
            **({} if "DATABASE_URL" in environment else self._own_database()),
            "PATCHVOTE_DATA": str(folder),
            "PATCHVOTE_ADMIN_PASSWORD": self.admin_password,
            "PORT": str(self.port),
            **environment,
        }
        self._log = folder.parent / f"{folder.name}-up.log"
        self._process: subprocess.Popen[bytes] | None = None

    def _own_database(self) -> dict[str, str]:
        server = os.environ.get("DATABASE_URL", "")
        if not server.startswith("postgres"):
            return {}
        name = f"patchvote-{uuid.uuid4().hex[:12]}"
        url = create_database(server, name)
        weakref.finalize(self, drop_database, server, name)  # when this object is garbage
        return {"DATABASE_URL": url}

    def start(self) -> None:
        """Start the installation and wait until it is ready."""
        self.prepare()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self.command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        self.wait_for("to be ready", lambda: "Patchvote is ready" in self.printed(), seconds=180)

    def prepare(self) -> None:
        """Fill the data folder before the first start; where it is not empty, or the test wants none, do nothing."""
        if self.prepared and not (self.folder.exists() and any(self.folder.iterdir())):
            copy_prepared(self.folder, database="DATABASE_URL" not in self.environment)

    def stop(self) -> int:
        """Send Ctrl-C and return the exit status; raise AssertionError if a process is still alive afterwards."""
        assert self._process is not None
        running = self.processes()
        self._process.send_signal(signal.SIGINT)
        status = self.wait(120)
        left = [name for name, pid in running.items() if pid and alive(pid)]
        assert not left, f"still alive: {', '.join(left)}"
        return status

    def wait(self, seconds: float) -> int:
        """Wait until `manage.py up` has ended and return its exit status."""
        assert self._process is not None
        return self._process.wait(seconds)

    def log(self) -> str:
        """Return what `manage.py up` has printed."""
        return self._log.read_text()

    def printed(self) -> str:
        """Return what `manage.py up` has printed; raise AssertionError if it has failed."""
        if self._process is not None and self._process.poll() not in {None, 0}:
            raise AssertionError(f"manage.py up ended: {self.log()}")
        return self.log()

    def manage(self, *arguments: str) -> str:
        """Run a management command and return its output."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self.environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    def create_user(self, name: str, password: str, role: str) -> None:
        """Create a user with a role."""
        self.manage(
            "shell", "-c",
            "from django.contrib.auth.models import Group; from patchvote.accounts.models import User; "
            f"User.objects.create_user({name!r}, password={password!r}).groups.add(Group.objects.get(name={role!r}))",
        )  # fmt: skip

    def processes(self) -> dict[str, int]:
        """Return the process ids of the supervised processes by name."""
        return {process["name"]: process["pid"] for process in self.remote().supervisor.getAllProcessInfo()}

    def remote(self) -> Any:
        """Return a client of supervisord's XML-RPC interface."""
        socket_path = f"unix://{self.folder / 'run' / 'control.sock'}"
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=SupervisorTransport(None, None, socket_path))

    def redis(self) -> Any:
        """Return a client of the installation's own Redis server."""
        import redis

        return redis.Redis(unix_socket_path=str(self.folder / "run" / "redis.sock"))

    def client(self, name: str = "admin", password: str | None = None) -> Client:
        """Return an API client of a user."""
        return Client(self, name, password or self.admin_password)

    @staticmethod
    def wait_for(what: str, condition: Any, seconds: float = 60) -> Any:
        """Return the first true value of `condition()`; raise AssertionError after `seconds`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(f"waited {seconds} s for {what}")


class Client:
    """An API client of a stack, over real HTTP."""

    def __init__(self, stack: Stack, name: str, password: str) -> None:
        self._api = f"{stack.url}/api/v1/"
        self._session = requests.Session()
        answer = self._session.post(f"{self._api}tokens/", json={"username": name, "password": password}, timeout=30)
        assert answer.status_code == 201, answer.text
        self.token = str(answer.json()["token"])
        self._session.headers["Authorization"] = f"Token {self.token}"

    def get(self, path: str) -> requests.Response:
        """Send a GET request to a path below the API or to a whole URL."""
        return self._session.get(self._url(path), timeout=30)

    def submit(self, *images: bytes, **fields: str) -> Any:
        """Submit a case and return its JSON."""
        files = [("images", (f"image-{i}.png", data, "image/png")) for i, data in enumerate(images)]
        answer = self._session.post(self._url("cases/"), files=files, data=fields, timeout=60)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def post(self, path: str, fields: dict[str, str], **files: tuple[str, bytes]) -> Any:
        """Send a form with files; the answer must be 202 Accepted."""
        answer = self._session.post(self._url(path), data=fields, files=files, timeout=120)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def post_json(self, path: str, content: Any, status: int = 202) -> Any:
        """Send JSON; the answer must have this status."""
        answer = self._session.post(self._url(path), json=content, timeout=60)
        assert answer.status_code == status, answer.text
        return answer.json()

    def finished(self, case: Any, seconds: float = 120) -> Any:
        """Wait until a case has ended, and return it."""

        def ended() -> Any:
            try:
                now = self.get(case["url"]).json()
            except requests.ConnectionError:  # a test killed the web server: what was left of it answered until now
                return None
            return now if now["state"] not in {"queued", "running"} else None

        return Stack.wait_for(f"case {case['id']}", ended, seconds)

    def _url(self, path: str) -> str:
        return path if re.match("https?://", path) else f"{self._api}{path}"
