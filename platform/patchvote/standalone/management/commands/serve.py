"""`manage.py serve NAME`: run one process, for containers and other supervisors."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from patchvote.standalone import processes


class Command(BaseCommand):
    """Replaces the current process by a process of the installation."""

    help = "Run one process of an installation. Any number of them may run, on any number of machines."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", choices=list(processes.COMMANDS))

    def handle(self, *args: Any, name: str, **options: Any) -> None:
        os.umask(0o077)
        processes.run_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "patchvote.config.settings")
        os.environ["PATCHVOTE_PROCESS"] = name
        os.chdir(settings.BASE_DIR)
        command = processes.COMMANDS[name]()
        os.execv(command[0], command)  # noqa: S606 (no shell: the list is ours)
