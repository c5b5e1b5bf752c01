"""A pytest plugin that fails a test which takes long and is not marked as such.

What counts is the processor time of a test's call, in this process and in the child processes that it waited for, so
that a busy machine fails no test by chance. Waiting counts too, but four times less, because another process may be
what a test waits for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator

import pytest

MARKERS = ("slow", "browser", "faults")
WAITING = 4
"""A test may take this many times longer by the clock than in processor time."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the limit to the settings."""
    parser.addini("unmarked_seconds", "processor time that a test without a marker of long tests may take", default="5")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Run a test, and fail it if it took too long for its markers."""
    processor, clock = _processor_seconds(), time.monotonic()
    yield
    if any(item.get_closest_marker(name) for name in MARKERS):
        return
    processor, clock = _processor_seconds() - processor, time.monotonic() - clock
    limit = float(item.config.getini("unmarked_seconds"))
    if processor > limit or clock > WAITING * limit:
        sentence = (
            f"This test took {processor:.1f} s of processor time and {clock:.1f} s by the clock; a test without one of "
            f"the markers {', '.join(MARKERS)} may take {limit:g} s and {WAITING * limit:g} s. "
            "Make it faster or mark it."
        )
        pytest.fail(sentence, pytrace=False)


def _processor_seconds() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
