"""A data folder that `manage.py setup` has prepared once: to copy it is cheaper than to set up each installation."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from testing.paths import ROOT

ADMIN_PASSWORD = "correct horse battery"
_VARIABLE = "PREPARED_INSTALLATION"
"""The folder's path, for benchmarks that a test starts as commands."""


def prepared_folder() -> Path:
    """Return a data folder with a migrated SQLite database, static files, the shipped model and the first admin.

    It is made once per process and deleted when the process ends.
    """
    if _VARIABLE not in os.environ:
        parent = tempfile.mkdtemp(prefix="patchvote-prepared-")
        atexit.register(shutil.rmtree, parent, ignore_errors=True)
        folder = Path(parent) / "data"
        environment = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "REDIS_URL"}}
        environment |= {"PATCHVOTE_DATA": str(folder), "PATCHVOTE_ADMIN_PASSWORD": ADMIN_PASSWORD}
        subprocess.run([sys.executable, "manage.py", "setup"], cwd=ROOT, env=environment, check=True)
        os.environ[_VARIABLE] = str(folder)
    return Path(os.environ[_VARIABLE])


def copy_prepared(folder: Path, *, database: bool) -> None:
    """Fill an empty data folder with what `manage.py setup` would make, so that it finds most of its work done.

    Args:
        folder: The data folder.
        database: Whether the installation uses the SQLite database in the folder. If not, only static files are copied.
    """
    prepared = prepared_folder()
    names = [path.name for path in prepared.iterdir() if database or path.name == "static"]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in names:
        if name == "secret_key":  # each installation makes its own
            continue
        source = prepared / name
        if source.is_dir():
            shutil.copytree(source, folder / name)
        else:
            shutil.copy2(source, folder / name)
