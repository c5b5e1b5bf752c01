"""Runs a benchmark as people do: as a command, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from testing.paths import ROOT


def run(name: str, folder: Path, *options: str) -> tuple[str, Any]:
    """What `python -m benchmarks.NAME` printed, and the figures that it wrote."""
    figures = folder / "figures.json"
    command = [sys.executable, "-m", f"benchmarks.{name}", *options, "--json", str(figures)]
    environment = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "REDIS_URL"}}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads(figures.read_text())
