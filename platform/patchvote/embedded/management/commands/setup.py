"""`manage.py setup`: bring into place what has to be there before any process starts."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from patchvote.embedded import setup


class Command(BaseCommand):
    """Prepares an installation."""

    help = (
        "Bring database, static files, model and first admin into place. `up` does it by itself; on several machines "
        "run it once before each new version starts."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        os.umask(0o077)  # cases are nobody's business but this user's
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
