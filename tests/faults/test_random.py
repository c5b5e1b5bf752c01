"""All faults in a random order on a busy installation; `make soak` does the same for longer."""

from __future__ import annotations

import os
import sys
import time

import pytest

from tests.faults.campaign import run
from tests.faults.installation import Installation
from tests.faults.pictures import Pool

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def test_nothing_is_lost_doubled_or_wrong(installation: Installation, pool: Pool) -> None:
    seed = int(os.environ.get("PATCHVOTE_TEST_SEED", time.time_ns() % 100_000))
    sys.stdout.write(f"PATCHVOTE_TEST_SEED={seed}\n")
    report = run(installation, pool, seed=seed, seconds=60, cases=60, pause=2, say=print)
    assert report.clean, report.as_markdown()
