"""An image that kills its worker each time: it fails with a reason, and takes no others along."""

from __future__ import annotations

import time
from typing import Any

import pytest

from testing.faults.installation import Installation, pid_of
from testing.faults.pictures import Pool
from testing.images import encode, noise
from testing.processes import kill
from testing.stack import Client

pytestmark = [pytest.mark.faults, pytest.mark.slow]


def kill_whoever_reads(on: Installation, poison: str, seconds: float) -> list[int]:
    """Kill each worker that works on an analysis until it has ended; returns the attempts that ended so."""
    killed: list[int] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        (row,) = on.database.rows("SELECT state, worker, attempts FROM cases_analysis WHERE id = ?", poison)
        if row["state"] == "running" and row["attempts"] not in killed:
            kill(pid_of(row["worker"]))
            killed.append(row["attempts"])
        elif row["state"] not in {"queued", "running"}:
            return killed
        time.sleep(0.02)
    raise AssertionError(f"the poison has not ended after {killed}")


def test_poison_is_given_up_and_takes_nobody_along(installation: Installation, client: Client, pool: Pool) -> None:
    case = client.submit(encode(noise(2500, 2500)), *pool.files[:3], reference="poison")
    poison = case["images"][0]["analysis"]["id"].replace("-", "")
    killed = kill_whoever_reads(installation, poison, 240)
    case = client.finished(case)
    analyses: list[Any] = [image["analysis"] for image in case["images"]]
    assert killed == [1, 2, 3, 4]
    assert analyses[0]["state"] == case["state"] == "failed"
    assert analyses[0]["error"]["code"] == "worker_lost"
    assert [analysis["state"] for analysis in analyses[1:]] == ["succeeded"] * 3
    assert max(analysis["finished_at"] for analysis in analyses[1:]) < analyses[0]["finished_at"]
