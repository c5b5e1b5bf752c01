"""A pytest plugin that fails a test which takes long and is not marked as such.

The measure is the time on the clock of the test's call, without the time in which a task of the machine waited for a
processor (where Linux reports that), so that a busy machine fails no test by chance. Fixtures do not count.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

MARKERS = ("slow", "browser", "faults")
PRESSURE = Path("/proc/pressure/cpu")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the limit to the settings."""
    parser.addini("unmarked_seconds", "time that a test without a marker of long tests may take", default="5")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Run a test, and fail it if it took too long for its markers."""
    pressure = PRESSURE  # a test of this plugin replaces it
    started = _quiet_seconds(pressure)
    yield
    seconds = _quiet_seconds(pressure) - started
    limit = float(item.config.getini("unmarked_seconds"))
    if seconds > limit and not any(item.get_closest_marker(name) for name in MARKERS):
        sentence = (
            f"This test took {seconds:.1f} s; a test without one of the markers {', '.join(MARKERS)} may take "
            f"{limit:g} s. Make it faster or mark it."
        )
        pytest.fail(sentence, pytrace=False)


def _quiet_seconds(pressure: Path) -> float:
    """The time on the clock without the time in which a task waited for a processor."""
    stalled = 0
    with suppress(OSError):
        stalled = int(pressure.read_text().split("total=")[1].split()[0])
    return time.monotonic() - stalled / 1e6
