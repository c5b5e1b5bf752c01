"""A pytest plugin that fails a test which takes long and is not marked as such.

The measure is the time on the clock of the test's call, without the time in which it waited for a processor (where
Linux reports that). Under pytest-xdist, where other tests slow down the child processes that a test waits for, a test
may take twice as long. Fixtures do not count.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

MARKERS = ("slow", "browser", "faults")
SCHEDULING = Path("/proc/thread-self/schedstat")
"""Nanoseconds that the thread ran, nanoseconds that it waited for a processor, and the number of its time slices."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the limit to the settings."""
    parser.addini("unmarked_seconds", "time that a test without a marker of long tests may take", default="5")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Run a test, and fail it if it took too long for its markers."""
    scheduling = SCHEDULING  # a test of this plugin replaces it
    started = _seconds(scheduling)
    yield
    seconds = _seconds(scheduling) - started
    limit = float(item.config.getini("unmarked_seconds")) * (2 if "PYTEST_XDIST_WORKER" in os.environ else 1)
    if seconds > limit and not any(item.get_closest_marker(name) for name in MARKERS):
        sentence = (
            f"This test took {seconds:.1f} s; a test without one of the markers {', '.join(MARKERS)} may take "
            f"{limit:g} s. Make it faster or mark it."
        )
        pytest.fail(sentence, pytrace=False)


def _seconds(scheduling: Path) -> float:
    """Return the time on the clock without the time in which this thread waited for a processor."""
    waited = 0
    with suppress(OSError):
        waited = int(scheduling.read_text().split()[1])
    return time.monotonic() - waited / 1e9
