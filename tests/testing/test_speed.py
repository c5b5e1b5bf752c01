"""A test that takes long needs a marker."""

from __future__ import annotations

from pathlib import Path

import pytest

from testing import speed

pytest_plugins = "pytester"

SETTINGS = """
[pytest]
addopts = -p testing.speed -p no:django -p no:cacheprovider
unmarked_seconds = 0.2
markers =
    slow
    browser
    faults
"""

BUSY = """
import subprocess, sys, time, pytest

def compute(seconds=0.4):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
"""


def outcomes(pytester: pytest.Pytester, test: str) -> dict[str, int]:
    pytester.makeini(SETTINGS)
    pytester.makepyfile(BUSY + test)
    return pytester.runpytest_inprocess().parseoutcomes()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests that these tests run believe that no other process of pytest-xdist runs."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


def test_a_test_that_computes_for_long_fails(pytester: pytest.Pytester) -> None:
    pytester.makeini(SETTINGS)
    pytester.makepyfile(f"{BUSY}\ndef test_it(): compute()\ndef test_another(): pass")
    result = pytester.runpytest_inprocess()
    assert result.parseoutcomes() == {"failed": 1, "passed": 1}
    result.stdout.re_match_lines([r"This test took \d\.\d s; .* Make it faster or mark it\."])


def test_the_time_of_child_processes_counts(pytester: pytest.Pytester) -> None:
    child = "import time; end = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    assert outcomes(pytester, f"def test_it(): subprocess.run([sys.executable, '-c', {child!r}])") == {"failed": 1}


def test_waiting_counts(pytester: pytest.Pytester) -> None:
    assert outcomes(pytester, "def test_it(): time.sleep(0.05)") == {"passed": 1}
    assert outcomes(pytester, "def test_it(): time.sleep(0.9)") == {"failed": 1}


@pytest.mark.parametrize("marker", ["slow", "browser", "faults"])
def test_a_marker_lifts_the_limit(pytester: pytest.Pytester, marker: str) -> None:
    assert outcomes(pytester, f"@pytest.mark.{marker}\ndef test_it(): compute()") == {"passed": 1}


def test_waiting_for_a_processor_does_not_count(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduling = tmp_path / "schedstat"
    scheduling.write_text("0 1000 1")
    monkeypatch.setattr(speed, "SCHEDULING", scheduling)
    write = f"import pathlib; pathlib.Path({str(scheduling)!r}).write_text('0 800001000 1')"
    assert outcomes(pytester, f"def test_it():\n    time.sleep(0.9)\n    {write}") == {"passed": 1}


def test_beside_other_processes_a_test_may_take_twice_as_long(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw1")
    assert outcomes(pytester, "def test_it(): time.sleep(0.3)") == {"passed": 1}
    assert outcomes(pytester, "def test_it(): time.sleep(0.5)") == {"failed": 1}


def test_fixtures_do_not_count(pytester: pytest.Pytester) -> None:
    fixture = "@pytest.fixture\ndef slow_fixture(): compute()\n"
    assert outcomes(pytester, f"{fixture}def test_it(slow_fixture): pass") == {"passed": 1}


def test_another_failure_stays_what_it_is(pytester: pytest.Pytester) -> None:
    pytester.makeini(SETTINGS)
    pytester.makepyfile(f"{BUSY}\ndef test_it():\n    compute()\n    assert 1 == 2")
    result = pytester.runpytest_inprocess()
    assert result.parseoutcomes() == {"failed": 1}
    result.stdout.no_fnmatch_line("*Make it faster*")
