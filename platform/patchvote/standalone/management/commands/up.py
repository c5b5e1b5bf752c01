"""`manage.py up`: prepare the installation, then run all processes until Ctrl-C."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, OutputWrapper

from patchvote.standalone import processes, supervision
from patchvote.standalone.checks import check_environment

SLOW_START_SECONDS = 60
"""The interval of messages that say which part is not ready yet."""


class Command(BaseCommand):
    """Runs the whole installation on this machine."""

    help = "Prepare the installation, then serve until Ctrl-C (make run)."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        os.umask(0o077)
        stop = threading.Event()
        ending = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup, closing the terminal stops nothing
            ending.append(signal.SIGHUP)
        for number in ending:
            signal.signal(number, lambda *_: stop.set())
        try:
            for warning in check_environment():
                self.stderr.write(f"{warning.msg} {warning.hint}")
            with supervision.lock():
                self._check_port()
                self._set_up(stop)
                if not stop.is_set():
                    self._serve(stop)
        except (supervision.AlreadyRunningError, processes.RedisMissingError, PermissionError) as error:
            raise CommandError(str(error)) from error

    def _check_port(self) -> None:
        family = socket.AF_INET6 if ":" in settings.HOST else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.HOST, settings.PORT))
            except (OSError, OverflowError) as error:
                raise CommandError(
                    f"Port {settings.PORT} of {settings.HOST} cannot be used ({error}). Choose another: "
                    f"make run PORT={settings.PORT % 60000 + 1}"
                ) from error

    def _set_up(self, stop: threading.Event) -> None:
        """Run the set-up in a separate process, so that the memory for checking a model is freed."""
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "setup", "--device"]
        failed = subprocess.run(command, check=False).returncode  # noqa: S603 (our own command)
        if failed and not stop.is_set():
            raise CommandError("The set-up failed: see above.")

    def _serve(self, stop: threading.Event) -> None:
        running = supervision.ProcessSupervisor()
        try:
            self._watch(running, stop)
        finally:
            self._say("Stopping …")
            running.stop()
            self._say("Stopped. Nothing was lost: waiting cases continue at the next start.")

    def _watch(self, running: supervision.ProcessSupervisor, stop: threading.Event) -> None:
        ready = False
        waited = 0
        while not stop.wait(0.5):
            dead = running.dead_process()
            if dead:
                log = processes.log_file(dead)
                raise CommandError(
                    f"{dead} died and could not be restarted. The end of {log}:\n{supervision.last_lines(dead)}"
                )
            if ready:
                continue
            missing = supervision.missing_part()
            waited += 1
            if missing is None:
                ready = True
                self._say(f"Patchvote is ready: {settings.ADDRESS}  (logs: {processes.log_folder()}, stop: Ctrl-C)")
            elif waited % (2 * SLOW_START_SECONDS) == 0:
                self._say(f"Still starting: {missing}. Logs: {processes.log_folder()}")

    def _say(self, text: str) -> None:
        """Print and flush, also to files and pipes; a closed terminal must not prevent an orderly stop."""
        try:
            self.stdout.write(text)
            self.stdout.flush()
        except OSError:
            self.stdout = OutputWrapper(io.StringIO())
