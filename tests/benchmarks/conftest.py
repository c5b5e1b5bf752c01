"""Runs benchmarks as commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testing.paths import ROOT
from testing.prepared import prepared_folder


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[str, Any]]:
    """Runs `python -m benchmarks.NAME` and returns its output and its figures: `run("serving", "--clients", "1")`."""

    def run(name: str, *options: str) -> tuple[str, Any]:
        figures = tmp_path / "figures.json"
        command = [sys.executable, "-m", f"benchmarks.{name}", *options, "--json", str(figures)]
        environment = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "REDIS_URL"}}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, json.loads(figures.read_text())

    return run


@pytest.fixture
def prepared() -> None:
    """Lets installations that a benchmark starts copy a prepared data folder, which is made once per session."""
    prepared_folder()
