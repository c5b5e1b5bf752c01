"""All faults in a random order on a busy installation; `make soak` does the same for longer."""

from __future__ import annotations

import pytest

from testing.faults.campaign import run
from testing.faults.installation import Installation
from testing.faults.pictures import Pool

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def test_nothing_is_lost_doubled_or_wrong(installation: Installation, pool: Pool, seed: int) -> None:
    report = run(installation, pool, seed=seed, seconds=30, cases=40, pause=1, say=print)
    assert report.clean, report.as_markdown()
