"""Runs `manage.py up` for tests that kill processes again and again: `python -m testing.up`.

A process counts as started after one second instead of ten, so that a test may kill it again after one second. Nothing
else differs.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Set the number of seconds and run the command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "patchvote.config.settings")
    from django.core.management import execute_from_command_line

    from patchvote.standalone import processes

    processes.START_SECONDS = 1
    execute_from_command_line([sys.argv[0], "up"])


if __name__ == "__main__":
    main()
