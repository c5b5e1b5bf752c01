"""The ledger's promises, on the real database."""

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from patchvote.cases.models import Analysis, Case
from patchvote.jobs import ledger
from patchvote.jobs.models import State
from patchvote.jobs.signals import jobs_changed, wake_up

RESULTS: dict[str, Any] = {
    "verdict": "benign",
    "malignant_share": 0.2,
    "threshold": 0.5,
    "malignant_probability": 0.3,
    "votes": [],
}


@pytest.fixture
def user(make_user: Any) -> Any:
    return make_user("ana")


def expire(job: Analysis) -> None:
    """As if its worker had been silent for too long."""
    Analysis.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def states() -> list[str]:
    return sorted(Analysis.objects.values_list("state", flat=True))


def test_a_claim_takes_the_oldest_and_counts_the_attempt(submit: Any, user: Any) -> None:
    cases = [submit(user) for _ in range(3)]
    claimed = ledger.claim(Analysis, "w1", 2)
    assert [job.image.case for job in claimed] == cases[:2]
    for job in claimed:
        assert (job.state, job.attempts, job.worker) == (State.RUNNING, 1, "w1")
        assert job.lease_expires_at and job.started_at
    assert [job.image.case for job in ledger.claim(Analysis, "w2", 10)] == cases[2:]
    assert ledger.claim(Analysis, "w3", 10) == []


def test_success_is_stored_once(submit: Any, user: Any) -> None:
    submit(user)
    [job] = ledger.claim(Analysis, "w1", 1)
    assert ledger.succeed([(job, RESULTS)])
    assert not ledger.succeed([(job, RESULTS | {"verdict": "malignant"})])
    assert not ledger.fail(job, "late", "too late")
    job.refresh_from_db()
    assert (job.state, job.verdict, job.progress, job.lease_expires_at) == (State.SUCCEEDED, "benign", 1, None)
    assert job.started_at and job.finished_at and job.finished_at >= job.started_at


def test_a_late_worker_is_discarded(submit: Any, user: Any) -> None:
    submit(user)
    [first] = ledger.claim(Analysis, "frozen", 1)
    expire(first)
    assert ledger.sweep(Analysis) == (1, 0)
    [second] = ledger.claim(Analysis, "quick", 1)
    assert second.attempts == 2
    assert not ledger.succeed([(first, RESULTS | {"verdict": "malignant"})])
    assert ledger.renew([first]) == 0
    assert ledger.succeed([(second, RESULTS)])
    second.refresh_from_db()
    assert (second.verdict, second.worker) == ("benign", "quick")


def test_a_renewed_lease_does_not_expire(submit: Any, user: Any) -> None:
    submit(user)
    [job] = ledger.claim(Analysis, "w1", 1)
    expire(job)
    assert ledger.renew([job]) == 1
    assert ledger.sweep(Analysis) == (0, 0)


def test_attempts_end_with_a_reason(submit: Any, user: Any, settings: Any) -> None:
    settings.JOB_MAX_ATTEMPTS = 2
    case = submit(user)
    for _ in range(2):
        [job] = ledger.claim(Analysis, "w1", 1)
        expire(job)
        ledger.sweep(Analysis)
    job.refresh_from_db()
    assert (job.state, job.error_code) == (State.FAILED, ledger.WORKER_LOST)
    assert "Analyse again" in job.error
    case.refresh_from_db()
    assert case.state == State.FAILED
    assert ledger.claim(Analysis, "w2", 1) == []


def test_what_killed_a_worker_is_tried_alone(submit: Any, user: Any) -> None:
    for _ in range(3):
        submit(user)
    for job in ledger.claim(Analysis, "dies", 2):
        expire(job)
    ledger.sweep(Analysis)
    assert [len(ledger.claim(Analysis, "w", 10)) for _ in range(3)] == [1, 1, 1]


def test_a_retried_job_does_not_ride_in_a_batch_of_fresh_ones(submit: Any, user: Any) -> None:
    for _ in range(3):
        submit(user)
    oldest = Analysis.objects.order_by("queued_at").first()
    second = Analysis.objects.order_by("queued_at")[1]
    Analysis.objects.filter(pk=second.pk).update(attempts=1)
    claimed = ledger.claim(Analysis, "w", 10)
    assert oldest in claimed
    assert second not in claimed


def test_cancelling_ends_what_is_open_and_nothing_else(submit: Any, user: Any) -> None:
    for _ in range(3):
        submit(user)
    done, running = ledger.claim(Analysis, "w1", 2)
    ledger.succeed([(done, RESULTS)])
    assert ledger.cancel(Analysis, list(Analysis.objects.values_list("pk", flat=True))) == 2
    assert states() == ["cancelled", "cancelled", "succeeded"]
    assert not ledger.succeed([(running, RESULTS)])


def test_a_sweep_wakes_workers_only_when_something_is_due(submit: Any, user: Any) -> None:
    woken: list[Any] = []

    def listen(sender: Any, **_: Any) -> None:
        woken.append(sender)

    wake_up.connect(listen)
    try:
        ledger.sweep(Analysis)
        assert woken == []
        submit(user)
        ledger.sweep(Analysis)
        assert woken == [Analysis]
    finally:
        wake_up.disconnect(listen)


def test_a_summary_that_fails_undoes_the_change(submit: Any, user: Any) -> None:
    """The signal is sent within the transaction: job and case can never disagree."""
    submit(user)
    [job] = ledger.claim(Analysis, "w1", 1)

    def fail(**_: Any) -> None:
        raise RuntimeError("no summary")

    jobs_changed.connect(fail)
    try:
        with pytest.raises(RuntimeError):
            ledger.succeed([(job, RESULTS)])
    finally:
        jobs_changed.disconnect(fail)
    job.refresh_from_db()
    assert job.state == State.RUNNING


@pytest.mark.django_db(transaction=True)
def test_renewing_keeps_leases_alive_from_another_thread(submit: Any, user: Any, settings: Any) -> None:
    settings.JOB_LEASE = timedelta(seconds=0.6)
    submit(user)
    jobs = ledger.claim(Analysis, "w1", 1)
    with ledger.renewing(jobs):
        time.sleep(1.5)
        assert ledger.sweep(Analysis) == (0, 0)
    time.sleep(0.8)
    assert ledger.sweep(Analysis) == (1, 0)


@pytest.mark.django_db(transaction=True)
def test_workers_at_the_same_moment_never_share_a_job(submit: Any, user: Any) -> None:
    for seed in range(12):
        submit(user, reference=str(seed))
    start = threading.Barrier(4)
    taken: list[Any] = []

    def worker(name: str) -> None:
        start.wait()
        while jobs := ledger.claim(Analysis, name, 2):
            taken.extend(job.pk for job in jobs)
        connection.close()

    threads = [threading.Thread(target=worker, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) == 12
    assert set(Case.objects.values_list("state", flat=True)) == {"running"}


@pytest.mark.django_db(transaction=True)
def test_the_last_two_analyses_of_a_case_may_end_at_once(submit: Any, user: Any, upload: Any) -> None:
    """Each worker's transaction is still open while the other ends its analysis: the case must not stay `running`."""
    from django.db import transaction

    case = submit(user, upload(), upload())
    jobs = [ledger.claim(Analysis, name, 1) for name in ("w1", "w2")]
    start = threading.Barrier(2)

    def end(job: Analysis) -> None:
        start.wait()
        with transaction.atomic():
            ledger.succeed([(job, RESULTS)])
            time.sleep(0.3)
        connection.close()

    threads = [threading.Thread(target=end, args=(job,)) for [job] in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    case.refresh_from_db()
    assert (case.state, case.verdict) == (State.SUCCEEDED, "benign")


@pytest.mark.django_db(transaction=True)
def test_batches_that_share_cases_do_not_wait_for_each_other_for_ever(submit: Any, user: Any, upload: Any) -> None:
    cases = [submit(user, upload(), upload()) for _ in range(4)]
    jobs = ledger.claim(Analysis, "w", 100)
    batches = [jobs[0::2], jobs[1::2][::-1]]
    start = threading.Barrier(2)

    def end(batch: list[Analysis]) -> None:
        start.wait()
        ledger.succeed((job, RESULTS) for job in batch)
        connection.close()

    threads = [threading.Thread(target=end, args=(batch,)) for batch in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for case in cases:
        case.refresh_from_db()
        assert case.state == State.SUCCEEDED


def test_what_was_cancelled_is_no_longer_held(submit: Any, user: Any) -> None:
    submit(user)
    submit(user)
    first, second = ledger.claim(Analysis, "w1", 2)
    ledger.cancel(Analysis, [first.pk])
    assert ledger.held([first, second]) == [second]


def lose(job: Analysis) -> Analysis:
    """Its worker dies, and the sweep sees it."""
    expire(job)
    ledger.sweep(Analysis)
    job.refresh_from_db()
    return job


def test_the_first_retry_is_at_once_and_later_ones_wait_longer_each_time(submit: Any, user: Any, settings: Any) -> None:
    settings.JOB_RETRY = timedelta(seconds=8)
    settings.JOB_MAX_ATTEMPTS = 9
    submit(user)
    waits = []
    for _ in range(5):
        [job] = ledger.claim(Analysis, "w1", 1)
        job = lose(job)
        waits.append((job.due_at - timezone.now()).total_seconds() if job.due_at else 0)
        assert (job.due_at is None) == bool(ledger.due(Analysis))
        Analysis.objects.update(due_at=None)
    assert waits[0] == 0
    for wait, longest in zip(waits[1:], (8, 16, 32, 60), strict=True):
        assert longest / 2 - 1 < wait <= longest


def test_what_waits_for_its_retry_holds_nobody_up(submit: Any, user: Any) -> None:
    submit(user)
    submit(user)
    for _ in range(2):
        [poison] = ledger.claim(Analysis, "dies", 1)
        lose(poison)
    [other] = ledger.claim(Analysis, "w", 5)
    assert other.pk != poison.pk
    Analysis.objects.filter(pk=poison.pk).update(due_at=timezone.now() - timedelta(seconds=1))
    assert [job.pk for job in ledger.claim(Analysis, "w", 5)] == [poison.pk]


def test_a_worker_that_holds_others_takes_nothing_that_was_tried(submit: Any, user: Any) -> None:
    submit(user)
    [job] = ledger.claim(Analysis, "w1", 1)
    lose(job)
    submit(user)
    assert ledger.claim(Analysis, "w1", 5, untried=True) == []
    assert [taken.pk for taken in ledger.claim(Analysis, "w1", 5)] == [job.pk]
    assert len(ledger.claim(Analysis, "w1", 5, untried=True)) == 1


def test_what_was_not_begun_is_given_back_uncounted(submit: Any, user: Any) -> None:
    submit(user)
    [job] = ledger.claim(Analysis, "stops", 1)
    assert ledger.give_back(job, untried=True)
    assert not ledger.give_back(job, untried=True)
    [again] = ledger.claim(Analysis, "goes on", 1, untried=True)
    assert (again.pk, again.attempts) == (job.pk, 1)
    assert not ledger.succeed([(job, RESULTS)])
    assert ledger.succeed([(again, RESULTS)])


HOUR = timedelta(hours=1)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_of_the_clock_loses_nothing(submit: Any, user: Any, settings: Any, step: timedelta) -> None:
    """All that was stored before the step lies as much earlier or later than it should."""
    submit(user)
    submit(user)
    [dead] = ledger.claim(Analysis, "dies", 1)
    [waits] = ledger.claim(Analysis, "w", 1)
    Analysis.objects.filter(pk=waits.pk).update(
        state=State.QUEUED, worker="", lease_expires_at=None, due_at=timezone.now() + timedelta(seconds=5) - step
    )
    Analysis.objects.filter(pk=dead.pk).update(lease_expires_at=timezone.now() + settings.JOB_LEASE - step)
    settings.JOB_LEASE = timedelta(seconds=0.2)
    ledger.sweep(Analysis)
    time.sleep(0.3)
    ledger.sweep(Analysis)
    assert {job.pk for _ in range(2) for job in ledger.claim(Analysis, "w", 1)} == {dead.pk, waits.pk}
