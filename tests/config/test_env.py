"""The environment variables: defaults, what invalid values say, unknown names, and the table of the docs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from patchvote.config.env import Environment, table

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Environment.names():
        monkeypatch.delenv(name, raising=False)


def test_defaults_are_those_of_an_empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Environment.read()
    for name in Environment.names():
        monkeypatch.setenv(name, "  ")
    assert Environment.read() == defaults
    assert (defaults.port, defaults.host, defaults.log_format) == (8000, "127.0.0.1", "plain")
    assert defaults.data_folder == ROOT / "var"


@pytest.mark.parametrize(
    ("name", "given", "field", "expected"),
    [
        ("PORT", " 8123 ", "port", 8123),
        ("PATCHVOTE_HTTPS", "Yes", "https", True),
        ("PATCHVOTE_HTTPS", "0", "https", False),
        ("PATCHVOTE_HTTPS", "perhaps", "https", False),
        ("PATCHVOTE_ALLOWED_HOSTS", "a.example, b.example,", "allowed_hosts", ["a.example", "b.example"]),
        ("PATCHVOTE_DATA_ROOTS", "/a::/b/../c", "data_roots", [Path("/a"), Path("/c")]),
        ("PATCHVOTE_DATA_ROOTS", "2024", "data_roots", [Path("2024").resolve()]),  # a name, not JSON
        ("PATCHVOTE_DATA", "/srv/../srv/data", "data_folder", Path("/srv/data")),
        ("PATCHVOTE_PROMOTION_SENSITIVITY_LOSS", "1", "promotion_sensitivity_loss", 1.0),
        ("PATCHVOTE_PRECISION", "bfloat16", "precision", "bfloat16"),
        ("PATCHVOTE_RETRY_SECONDS", "0", "retry_seconds", 0),
        ("PATCHVOTE_ADMIN_PASSWORD", "1234", "admin_password", "1234"),
    ],
)
def test_values_are_converted(
    monkeypatch: pytest.MonkeyPatch, name: str, given: str, field: str, expected: Any
) -> None:
    monkeypatch.setenv(name, given)
    value = getattr(Environment.read(), field)
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [
        ("PORT", "eight thousand", "PORT must be a whole number, not 'eight thousand'."),
        ("PATCHVOTE_LEASE_SECONDS", "8.0", "PATCHVOTE_LEASE_SECONDS must be a whole number, not '8.0'."),
        ("PATCHVOTE_LEASE_SECONDS", "0", "PATCHVOTE_LEASE_SECONDS must be at least 1, not 0."),
        (
            "PATCHVOTE_PROMOTION_SENSITIVITY_LOSS",
            "2",
            "PATCHVOTE_PROMOTION_SENSITIVITY_LOSS must be a number from 0 to 1, not '2'.",
        ),
        (
            "PATCHVOTE_PROMOTION_SENSITIVITY_LOSS",
            "nan",
            "PATCHVOTE_PROMOTION_SENSITIVITY_LOSS must be a number from 0 to 1, not 'nan'.",
        ),
        ("PATCHVOTE_LOG_FORMAT", "xml", "PATCHVOTE_LOG_FORMAT must be one of plain, json, not 'xml'."),
    ],
)
def test_an_invalid_value_gives_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, given: str, sentence: str
) -> None:
    monkeypatch.setenv(name, given)
    with pytest.raises(SystemExit, match=f"^{re.escape(sentence)}$"):
        Environment.read()


def test_an_unknown_variable_is_reported_and_stops_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PATCHVOTE_DATA": str(tmp_path), "PATCHVOTE_LEASE_SECOND": "5"}
    command = [sys.executable, "manage.py", "check"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "Patchvote does not read the environment variable PATCHVOTE_LEASE_SECOND." in done.stderr
    assert done.stderr.count("patchvote.W001") == 1


def test_make_run_reports_an_unknown_variable_first(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        given = {"PATCHVOTE_DATA": str(tmp_path), "PATCHVOTE_UPLOAD_MB": "5", "PORT": str(taken.getsockname()[1])}
        command = [sys.executable, "manage.py", "up"]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **given}, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    first, *_ = done.stderr.splitlines()
    assert first.startswith("Patchvote does not read the environment variable PATCHVOTE_UPLOAD_MB.")


def test_the_default_data_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "import").symlink_to(tmp_path / "disk")
    code = "from patchvote.config import settings; print(settings.DATA_ROOTS[0])"
    env = os.environ | {"PATCHVOTE_DATA": str(tmp_path / "data"), "PATCHVOTE_DATA_ROOTS": ""}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str((tmp_path / "disk").resolve())


def test_the_operation_manual_contains_the_table() -> None:
    manual = (ROOT / "docs" / "operation.md").read_text()
    assert table() in manual, "Replace the table by the output of `python -m patchvote.config.env`."
