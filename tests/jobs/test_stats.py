"""What a worker measures, and how its row carries it."""

import json
import threading
from typing import Any

import pytest

from patchvote.jobs import heartbeat, stats
from patchvote.jobs.models import Worker


def value(sample: str, **labels: str) -> float:
    """As it stands now: what is measured grows for as long as the process lives."""
    found = [v for family in stats.snapshot() for name, own, v in family["samples"] if (name, own) == (sample, labels)]
    return found[0] if found else 0


def test_batches_are_counted_by_size() -> None:
    before = value("patchvote_batch_size_count"), value("patchvote_batch_size_sum")
    stats.observe_batch(3)
    stats.observe_batch(5)
    assert value("patchvote_batch_size_count") == before[0] + 2
    assert value("patchvote_batch_size_sum") == before[1] + 8


def test_a_stage_counts_also_when_it_fails() -> None:
    with stats.stage("measured"):
        pass
    with pytest.raises(ZeroDivisionError), stats.stage("measured"):
        raise ZeroDivisionError
    assert value("patchvote_stage_seconds_count", stage="measured") == 2
    assert value("patchvote_stage_seconds_sum", stage="measured") > 0


def test_a_counter_appears_before_it_grows() -> None:
    stats.count("seen", 0, colour="red")
    assert {"patchvote_seen_total"} == {
        name for family in stats.snapshot() if family["name"] == "patchvote_seen" for name, _, _ in family["samples"]
    }
    stats.count("seen", 4, colour="red")
    assert (value("patchvote_seen_total", colour="red"), value("patchvote_seen_total", colour="blue")) == (4, 0)


def test_threads_that_count_at_once_lose_nothing() -> None:
    ready = threading.Barrier(8)

    def count() -> None:
        ready.wait()
        for _ in range(500):
            stats.count("threaded")
            with stats.stage("threaded"):
                pass

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value("patchvote_threaded_total") == 4000
    assert value("patchvote_stage_seconds_count", stage="threaded") == 4000


@pytest.mark.django_db
def test_a_heartbeat_writes_them() -> None:
    heartbeat.beat("inference")
    stats.count("beaten", 2)
    heartbeat.beat("inference")
    row = Worker.objects.get()
    assert (row.name, row.queue, row.alive) == (heartbeat.NAME, "inference", True)
    assert row.stats == json.loads(json.dumps(stats.snapshot()))
    assert ["patchvote_beaten_total", {}, 2.0] in [sample for family in row.stats for sample in family["samples"]]
    heartbeat.leave()
    assert not Worker.objects.exists()


def test_the_ledger_counts_what_it_ends(submit: Any, make_user: Any) -> None:
    from patchvote.cases.models import Analysis
    from patchvote.jobs import ledger

    def ended() -> dict[str, float]:
        return {
            outcome: value("patchvote_jobs_ended_total", kind="analysis", outcome=outcome)
            for outcome in ("succeeded", "failed", "discarded")
        }

    ana = make_user("ana")
    for _ in range(3):
        submit(ana)
    before = ended()
    first, second, third = ledger.claim(Analysis, "w", 3)
    ledger.succeed([(first, {"verdict": "benign"})])
    ledger.fail(second, "file_gone", "It is gone.")
    ledger.cancel(Analysis, [third.pk])
    ledger.succeed([(third, {"verdict": "benign"})])
    assert {outcome: number - before[outcome] for outcome, number in ended().items()} == {
        "succeeded": 1, "failed": 1, "discarded": 1,
    }  # fmt: skip
