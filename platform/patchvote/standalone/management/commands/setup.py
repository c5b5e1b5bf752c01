"""`manage.py setup`: prepare the installation before its processes start."""

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
        "Prepare the database, the static files, the shipped model and the first admin. `up` does this itself; on "
        "several machines run it once before each new version starts."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--device", action="store_true", help="First check that this machine has the device of inference."
        )

    def handle(self, *args: Any, device: bool = False, **options: Any) -> None:
        os.umask(0o077)  # only this user may read the cases
        if device:
            _find_device()
        self.stdout.write("Setting up …")
        self.stdout.flush()
        admin = setup.prepare()
        if admin is None:
            return
        self.stdout.write(f"\n  The first admin was created. Address: {settings.ADDRESS}  Name: {admin.name}")
        if admin.password:
            self.stdout.write(f"  Password (shown only once): {admin.password}\n")
        else:
            self.stdout.write("  Password: the one in PATCHVOTE_ADMIN_PASSWORD\n")


def _find_device() -> None:
    """Check that the device of inference exists, before workers die repeatedly because it does not.

    Raises:
        CommandError: If the device is missing.
    """
    if settings.INFERENCE_DEVICE in {"auto", "cpu"}:
        return  # always available: no need to import PyTorch, which takes seconds
    from classifier.engine import devices

    try:
        devices.find(settings.INFERENCE_DEVICE)
    except devices.DeviceError as error:
        raise CommandError(f"PATCHVOTE_DEVICE={settings.INFERENCE_DEVICE}: {error}") from error
