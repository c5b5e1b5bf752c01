"""A private PostgreSQL server for tests, and a command that gives one to another command.

    python -m testing.postgres python -m pytest tests/jobs
    python -m testing.postgres --installed

It listens on a Unix socket in a folder of its own alone, so it meets no other server, and nobody else can reach it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

NAME = "patchvote"
"""Of the database and of its superuser."""
MISSING = "No PostgreSQL server is installed here (on Debian and Ubuntu: apt install postgresql)."
# Debian, Red Hat, Homebrew: there the server is not on the PATH.
ELSEWHERE = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")


class Postgres:
    """A server that keeps what was committed, as an operator's does: it is stopped, killed and started at will."""

    def __init__(self, folder: Path) -> None:
        """Prepare a server.

        Args:
            folder: Where its log `postgres.log` is written. Its data lie below /tmp: the path of a socket has to be
                short, and the user whom root lends the server must get there.
        """
        self.log = folder / "postgres.log"
        self.folder = Path()
        self.pid = 0
        """Of the postmaster, while it runs."""
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    @functools.cache
    def programs() -> Path | None:
        """The folder of the server's programs, the newest version's where there are several."""
        found = [Path(path).resolve().parent for path in [shutil.which("postgres")] if path]
        for pattern in ELSEWHERE:
            found += sorted(Path("/").glob(pattern[1:]), key=lambda path: [len(str(path)), str(path)], reverse=True)
        if command := shutil.which("pg_config"):
            done = subprocess.run([command, "--bindir"], check=False, capture_output=True, text=True)
            found.append(Path(done.stdout.strip()))
        return next((path for path in found if (path / "postgres").exists() and (path / "initdb").exists()), None)

    @classmethod
    def installed(cls) -> bool:
        """True where a server can be started."""
        return cls.programs() is not None

    @property
    def url(self) -> str:
        """For DATABASE_URL; the same after a restart."""
        return f"postgresql://{NAME}@{quote(str(self.folder), safe='')}/{NAME}"

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="pv-pg-", dir="/tmp"))
        try:
            if user := _unprivileged():
                os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._initialise()
            self.start()
            create_database(_in_database(self.url, "postgres"), NAME)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._end(signal.SIGQUIT)  # at once: nobody needs the data any more
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start the server and wait until it answers; after a kill that is once it has recovered."""
        assert self._process is None
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "port": "5432",  # a file's name in that folder, nothing more
            "fsync": "on",
            "synchronous_commit": "on",
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program("postgres"), "-D", str(self._data), *settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._surroundings(),
            )  # fmt: skip
        self.pid = self._process.pid
        end = time.monotonic() + 60
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"PostgreSQL did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop in good order, without waiting for those who are connected."""
        self._end(signal.SIGINT)

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill the server and all of its processes at once."""
        os.kill(self.pid, signal.SIGSTOP)  # it begets no more
        children = _children(self.pid)
        self._end(signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        # They are not ours to wait for; and while one is there, no new server starts on their memory.
        end = time.monotonic() + 30
        while any(child in _running() for child in children) and time.monotonic() < end:
            time.sleep(0.02)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(60)
        self._process, self.pid = None, 0

    def _answers(self) -> bool:
        try:
            psycopg.connect(_in_database(self.url, "postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _program(self, name: str) -> str:
        folder = self.programs()
        if folder is None:
            raise FileNotFoundError(MISSING)
        return str(folder / name)

    def _initialise(self) -> None:
        command = [
            self._program("initdb"), "-D", str(self._data), "--auth=trust", f"--username={NAME}", "--encoding=UTF8",
            "--locale=C.UTF-8", "--no-sync",
        ]  # fmt: skip
        done = subprocess.run(command, check=False, capture_output=True, text=True, **self._surroundings())
        if done.returncode:
            raise AssertionError(f"{' '.join(command)} failed:\n{done.stderr}")

    def _surroundings(self) -> dict[str, Any]:
        """Out of the terminal's reach (Ctrl-C ends whoever uses the server first), and never as root."""
        surroundings: dict[str, Any] = {"cwd": self.folder, "start_new_session": True}
        if user := _unprivileged():
            surroundings |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        return surroundings


def create_database(url: str, name: str) -> str:
    """Make a database on the server of a URL, and return the new one's URL."""
    _execute(url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return _in_database(url, name)


def drop_database(url: str, name: str) -> None:
    """Drop a database of the server of a URL, whoever is connected to it."""
    _execute(url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _in_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def _execute(url: str, statement: sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        connection.execute(statement)


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom the server runs as, where this user is root: PostgreSQL refuses that."""
    if os.getuid():
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise LookupError("PostgreSQL does not run as root, and there is neither a user `postgres` nor `nobody`.")


def _running() -> dict[int, int]:
    """The parents of all processes that have not ended."""
    lines = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], check=True, capture_output=True, text=True).stdout
    rows = [line.split() for line in lines.splitlines()]
    return {int(pid): int(parent) for pid, parent, status in rows if not status.startswith("Z")}


def _children(pid: int) -> list[int]:
    return [child for child, parent in _running().items() if parent == pid]


def main(arguments: list[str]) -> int:
    """Run a command with a server of its own; returns the command's status."""
    if not Postgres.installed() or not arguments:
        sys.stderr.write(f"{__doc__ if Postgres.installed() else MISSING}\n")
        return 2
    if arguments == ["--installed"]:
        sys.stdout.write(f"PostgreSQL's programs are in {Postgres.programs()}\n")
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="pv-pg-log-") as folder, Postgres(Path(folder)) as server:
        command = subprocess.Popen(arguments, env={**os.environ, "DATABASE_URL": server.url})
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command by itself: it decides what comes next
        try:
            status = command.wait()
        finally:
            command.terminate()
            command.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
