"""`manage.py setup`: bring into place what has to be there before any process starts."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from patchvote.standalone import setup


class Command(BaseCommand):
    """Prepares an installation."""

    help = (
        "Bring database, static files, model and first admin into place. `up` does it by itself; on several machines "
        "run it once before each new version starts."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--device", action="store_true", help="See first whether this machine has the device named for inference."
        )

    def handle(self, *args: Any, device: bool = False, **options: Any) -> None:
        os.umask(0o077)  # cases are nobody's business but this user's
        if device:
            _find_device()
        self.stdout.write("Setting up …")
        self.stdout.flush()
        admin = setup.prepare()
        if admin is None:
            return
        self.stdout.write(f"\n  The first admin was made. Address: {settings.ADDRESS}  Name: {admin.name}")
        if admin.password:
            self.stdout.write(f"  Password (shown this once): {admin.password}\n")
        else:
            self.stdout.write("  Password: the one in PATCHVOTE_ADMIN_PASSWORD\n")


def _find_device() -> None:
    """Say that a device is missing before a worker dies of it again and again.

    Raises:
        CommandError: If it is.
    """
    if settings.INFERENCE_DEVICE in {"auto", "cpu"}:
        return  # they are there: PyTorch, which takes seconds to load, need not be asked
    from classifier.engine import devices

    try:
        devices.find(settings.INFERENCE_DEVICE)
    except devices.DeviceError as error:
        raise CommandError(f"PATCHVOTE_DEVICE={settings.INFERENCE_DEVICE}: {error}") from error
