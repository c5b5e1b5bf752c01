"""A training run whose worker and child process are killed four times gives one result with equal numbers.

`make soak` kills ten times.
"""

from __future__ import annotations

import pytest

from testing.faults.installation import Installation
from testing.faults.training import KilledRun, training_worker

pytestmark = [pytest.mark.faults, pytest.mark.slow]

KILLS = 4


def test_kills_do_not_change_the_result(installation: Installation, seed: int) -> None:
    installation.settled()
    with training_worker(installation):
        run = KilledRun(installation, kills=KILLS, seed=seed)
    assert run.kills == KILLS, "the run ended before the last kill"
    assert run.disturbed["attempts"] > KILLS / 2
    assert not run.left
    assert run.differences() == []
