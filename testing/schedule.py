"""A pytest plugin that decides which tests share a process of pytest-xdist, and in which order they run.

Tests of one file stay together, so that its fixtures are made once. Tests that start an installation form two groups:
they wait for other processes most of the time, so a third process of xdist runs all other tests meanwhile. It gives way
to the installations, whose times are promised. The groups that take longest come first.

It applies to each run with `-n`, and to no other.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

import pytest

INSTALLATIONS = "installations"
FAULTS = "faults"
FIXTURES = {"stack", "installation", "on_postgres"}
"""Fixtures that start an installation."""
GROUPS = {
    "tests/browser": INSTALLATIONS,
    "tests/faults": FAULTS,
    "tests/standalone": INSTALLATIONS,
    "tests/benchmarks/test_retraining.py": INSTALLATIONS,
    "tests/jobs/test_observed.py": INSTALLATIONS,
}
"""The group of each folder or file whose tests stay with those of other files."""
NICENESS = 15
"""The niceness of a process that runs other tests; that of an inference worker is 10."""


def group(nodeid: str) -> str:
    """Return the name of a test's group."""
    path = PurePosixPath(nodeid.partition("::")[0])
    return next((name for place, name in GROUPS.items() if path.is_relative_to(place)), str(path))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the groups that take longest first; fail if a test starts an installation outside its group."""
    for item in items:
        used = FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if used and group(item.nodeid) not in {INSTALLATIONS, FAULTS}:
            sentence = f"{item.nodeid} uses {used.pop()!r}: add its file to GROUPS in testing/schedule.py."
            raise pytest.UsageError(sentence)
    if hasattr(config, "workerinput"):  # a process of xdist
        slow = Counter(group(item.nodeid) for item in items if item.get_closest_marker("slow"))
        number = Counter(group(item.nodeid) for item in items)

        def rank(item: pytest.Item) -> tuple[bool, int, int, str]:
            name = group(item.nodeid)
            return name not in {INSTALLATIONS, FAULTS}, -slow[name], -number[name], name

        items.sort(key=rank)  # stable: within a group the order stays


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give way to the installations that another process of xdist tests."""
    if hasattr(item.config, "workerinput") and group(item.nodeid) not in {INSTALLATIONS, FAULTS}:
        os.nice(max(0, NICENESS - os.nice(0)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Return a scheduler that keeps each group in one process."""
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    config.option.loadscopereorder = False  # the order of collection, not of the groups' numbers of tests
    return GroupScheduling(config, log)
