"""A pytest plugin that fails a test which takes long and is not marked as such.

The measure is the processor time of the test's call, in this process and in the child processes that it waits for, so
that a busy machine fails no test by chance. The time on the clock counts too, with a limit four times as high, and
without the time in which a task of the machine waited for a processor (where Linux reports that).
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

MARKERS = ("slow", "browser", "faults")
WAITING = 4
"""How many times higher the limit is on the clock than in processor time."""
PRESSURE = Path("/proc/pressure/cpu")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the limit to the settings."""
    parser.addini("unmarked_seconds", "processor time that a test without a marker of long tests may take", default="5")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Run a test, and fail it if it took too long for its markers."""
    pressure = PRESSURE  # a test of this plugin replaces it
    started, processor, clock = time.monotonic(), _processor_seconds(), _quiet_seconds(pressure)
    yield
    if any(item.get_closest_marker(name) for name in MARKERS):
        return
    processor, clock = _processor_seconds() - processor, _quiet_seconds(pressure) - clock
    # A child of an earlier test that ends only now brings its processor time along: no test uses more than all cores.
    processor = min(processor, (time.monotonic() - started) * (os.cpu_count() or 1))
    limit = float(item.config.getini("unmarked_seconds"))
    if processor > limit or clock > WAITING * limit:
        sentence = (
            f"This test took {processor:.1f} s of processor time and {clock:.1f} s on the clock; a test without one of "
            f"the markers {', '.join(MARKERS)} may take {limit:g} s and {WAITING * limit:g} s. "
            "Make it faster or mark it."
        )
        pytest.fail(sentence, pytrace=False)


def _processor_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _quiet_seconds(pressure: Path) -> float:
    """The time on the clock without the time in which a task waited for a processor."""
    stalled = 0
    with suppress(OSError):
        stalled = int(pressure.read_text().split("total=")[1].split()[0])
    return time.monotonic() - stalled / 1e6
