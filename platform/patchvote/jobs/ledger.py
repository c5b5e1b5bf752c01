"""The only module that changes the state of a job.

Each function is one short transaction. The worker's name and the number of the attempt identify the holder of a lease:
an update by a holder that has lost the lease matches no row and changes nothing.

Only the database's clock decides about leases and due times, so hosts with different clocks agree. If that clock is set
back, the sweep corrects times that lie implausibly far in the future.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db import close_old_connections, connection, models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from patchvote.jobs import stats
from patchvote.jobs.models import OPEN_STATES, Job, State
from patchvote.jobs.signals import jobs_changed, wake_up

logger = logging.getLogger(__name__)

J = TypeVar("J", bound=Job)

WORKER_LOST = "worker_lost"


def _rows(model: type[J]) -> models.QuerySet[J]:
    return model._default_manager.all()  # noqa: SLF001 (Django's documented way for any model)


def _held(job: Job) -> models.QuerySet[Job]:
    return _rows(type(job)).filter(pk=job.pk, state=State.RUNNING, attempts=job.attempts, worker=job.worker)


def due(model: type[J]) -> models.QuerySet[J]:
    """Return the jobs that a worker may claim now, oldest first."""
    now = Q(due_at=None) | Q(due_at__lte=Now())
    return _rows(model).filter(now, state=State.QUEUED).order_by("queued_at", "pk")


def claim(model: type[J], worker: str, limit: int, *, untried: bool = False) -> list[J]:
    """Claim due jobs for a worker, oldest first.

    A job with an earlier attempt is claimed alone: if it kills its worker, no other jobs are lost with it.

    Args:
        model: The kind of job.
        worker: The name of the worker.
        limit: The maximum number of jobs.
        untried: Claim nothing if the next job has an earlier attempt, because the worker still holds other jobs.

    Returns:
        The claimed jobs, in the state running, with the attempt counted.
    """
    waiting = due(model)
    if not waiting.exists():  # spares an idle worker the write lock
        return []
    with transaction.atomic():
        first = list(waiting.select_for_update(skip_locked=True, of=("self",)).only("pk", "attempts")[:limit])
        if first and first[0].attempts:
            ids = [] if untried else [first[0].pk]
        else:
            ids = [job.pk for job in first if not job.attempts]
        _rows(model).filter(pk__in=ids, state=State.QUEUED).update(
            state=State.RUNNING,
            attempts=F("attempts") + 1,
            worker=worker,
            lease_expires_at=Now() + settings.JOB_LEASE,
            due_at=None,
            started_at=Now(),
            progress=0,
        )
        _notify_changed(model, ids)
        claimed = list(_related(model).filter(pk__in=ids).order_by("queued_at", "pk"))
    for job in claimed:
        _log(job, "claimed", worker=job.worker)
    return claimed


def renew(jobs: Iterable[Job]) -> int:
    """Renew the leases of jobs.

    Returns:
        The number of jobs that are still held; the others were cancelled or given to another worker.
    """
    renewed = 0
    holders: dict[tuple[type[Job], str, int], list[Any]] = {}
    for job in jobs:
        holders.setdefault((type(job), job.worker, job.attempts), []).append(job.pk)
    for (model, worker, attempts), ids in holders.items():  # usually a single group
        rows = _rows(model).filter(pk__in=ids, state=State.RUNNING, worker=worker, attempts=attempts)
        renewed += rows.update(lease_expires_at=Now() + settings.JOB_LEASE)
    return renewed


def report(job: Job, **fields: Any) -> bool:
    """Renew the lease of a job and store its progress.

    Args:
        job: The job as claimed.
        fields: The values to store.

    Returns:
        False if the job is no longer held; then nothing was stored.
    """
    return bool(_held(job).update(lease_expires_at=Now() + settings.JOB_LEASE, **fields))


def give_back(job: Job, *, untried: bool = False, **fields: Any) -> bool:
    """Return a job to the queue because its worker must stop.

    Args:
        job: The job as claimed.
        untried: Do not count the attempt, because the job did not fail. (Names of workers are unique, so the next
            holder is still distinguishable from this one.)
        fields: Further values to store.

    Returns:
        False if the job is no longer held.
    """
    if untried:
        fields["attempts"] = job.attempts - 1
    with transaction.atomic():
        given = _held(job).update(state=State.QUEUED, worker="", lease_expires_at=None, **fields)
        if given:
            _notify_changed(type(job), [job.pk])
    if given:
        _log(job, "given back", worker=job.worker)
    return bool(given)


@contextmanager
def holding(job: Job) -> Iterator[bool]:
    """Open a transaction in which no other process can end the job, to store its result and end it atomically.

    Yields:
        False if the job is no longer held; then the body must store nothing.
    """
    with transaction.atomic():
        yield bool(_held(job).select_for_update(of=("self",)).values_list("pk", flat=True))


def expire_lease(job: Job) -> None:
    """Expire the lease at once and sweep, because the process that worked on the job died.

    The sweep decides whether the job gets another attempt.
    """
    _held(job).update(lease_expires_at=Now() - timedelta(seconds=1))
    sweep(type(job))


def held(jobs: Iterable[J]) -> list[J]:
    """Return the jobs that are still held: neither cancelled nor given to another worker."""
    jobs = list(jobs)
    if not jobs:
        return []
    model, ids = type(jobs[0]), [job.pk for job in jobs]
    running = _rows(model).filter(pk__in=ids, state=State.RUNNING)
    holders = set(running.values_list("pk", "attempts", "worker"))
    return [job for job in jobs if (job.pk, job.attempts, job.worker) in holders]


def succeed(results: Iterable[tuple[Job, dict[str, Any]]]) -> int:
    """Store the results of jobs of one model and end the jobs, in one transaction.

    Args:
        results: Pairs of a job as claimed and the values of its fields.

    Returns:
        The number of stored results; the result of a job that is no longer held is discarded.
    """
    # All transactions lock rows in the same order, so that no two wait for each other.
    pairs = sorted(results, key=lambda pair: pair[0].pk)
    return _end(
        [(job, State.SUCCEEDED, {"progress": 1, "error_code": "", "error": "", **fields}) for job, fields in pairs]
    )


def fail(job: Job, code: str, message: str) -> bool:
    """End a job with an error that another attempt would not resolve; return False if it is no longer held."""
    return bool(_end([(job, State.FAILED, {"error_code": code, "error": message})]))


def cancel(model: type[J], ids: Sequence[Any]) -> int:
    """Cancel the jobs that have not ended and return their number."""
    with transaction.atomic():
        rows = _rows(model).filter(pk__in=ids, state__in=OPEN_STATES)
        locked = list(rows.select_for_update(of=("self",)).order_by("pk").values_list("pk", flat=True))
        cancelled = rows.filter(pk__in=locked).update(state=State.CANCELLED, finished_at=Now(), lease_expires_at=None)
        _notify_changed(model, locked)
    for job in _related(model).filter(pk__in=locked):
        _log(job, "cancelled")
    return cancelled


def sweep(model: type[J]) -> tuple[int, int]:
    """Requeue jobs with expired leases, fail those without attempts left, and wake the workers if jobs are due.

    The first retry is due at once, each further one after a longer delay. Several sweeps may run at the same time.

    Returns:
        The number of requeued jobs and the number of failed jobs.
    """
    _mend_times(model)
    requeued = failed = 0
    expired = Q(state=State.RUNNING, lease_expires_at__lt=Now())
    if _rows(model).filter(expired).exists():
        with transaction.atomic():
            lost = list(_rows(model).filter(expired).select_for_update(skip_locked=True, of=("self",)))
            ids = [job.pk for job in lost]
            failed = (
                _rows(model)
                .filter(expired, model.exhausted(), pk__in=ids)
                .update(
                    state=State.FAILED,
                    finished_at=Now(),
                    lease_expires_at=None,
                    error_code=WORKER_LOST,
                    error=model.LOST_MESSAGE,
                )
            )
            for job in lost:
                delay = job.retry_delay()
                requeued += (
                    _rows(model)
                    .filter(expired, pk=job.pk)
                    .update(
                        state=State.QUEUED, worker="", lease_expires_at=None, due_at=Now() + delay if delay else None
                    )
                )
            _notify_changed(model, ids)
        for job in _related(model).filter(pk__in=ids):
            if job.state == State.FAILED:
                _failed(job, WORKER_LOST, "its lease expired", worker=job.worker)
            else:
                _log(job, "requeued: its lease expired", logging.WARNING)
    if due(model).exists():
        wake_up.send(sender=model)
    return requeued, failed


def _mend_times(model: type[Job]) -> None:
    """Correct leases and due times that lie too far in the future because the clock was set back."""
    far_leases = _rows(model).filter(state=State.RUNNING, lease_expires_at__gt=Now() + 2 * settings.JOB_LEASE)
    far_retries = _rows(model).filter(state=State.QUEUED, due_at__gt=Now() + 2 * settings.JOB_RETRY_LONGEST)
    # A living holder renews its lease long before the end; a dead one loses it as if it had died just now.
    if far_leases.exists():
        far_leases.update(lease_expires_at=Now() + settings.JOB_LEASE)
    if far_retries.exists():
        far_retries.update(due_at=None)


@contextmanager
def renewing(jobs: Sequence[Job], check: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Renew the leases of jobs in a separate thread while the body works on them.

    Args:
        jobs: The jobs; the body may add and remove some.
        check: A function that is called before each renewal; it may end a process that hangs.
    """
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(settings.JOB_LEASE.total_seconds() / 3):
            check()
            try:
                close_old_connections()
                renew(tuple(jobs))
            except Exception:
                logger.exception("the leases of %d jobs could not be renewed", len(jobs))
        connection.close()

    thread = threading.Thread(target=beat, name="renew-leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _end(endings: Sequence[tuple[Job, State, dict[str, Any]]]) -> int:
    ended: list[Job] = []
    with transaction.atomic():
        for job, state, fields in endings:
            if _held(job).update(state=state, finished_at=Now(), lease_expires_at=None, **fields):
                ended.append(job)
        if ended:
            _notify_changed(type(ended[0]), [job.pk for job in ended])
    kept = {job.pk for job in ended}
    for job, state, fields in endings:
        if job.pk not in kept:
            _log(job, "result discarded: it is no longer held", logging.WARNING, worker=job.worker)
            _count(job, "discarded")
        elif state == State.FAILED:
            _failed(job, fields["error_code"], fields["error"], worker=job.worker)
        else:
            _log(job, "stored", worker=job.worker)
            _count(job, "succeeded")
    return len(ended)


def _related(model: type[J]) -> models.QuerySet[J]:
    """Return the jobs with the related rows that their log lines need."""
    return _rows(model).select_related(*model.RELATED) if model.RELATED else _rows(model)


def _log(job: Job, event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log one line for a step of a job, after its transaction."""
    if logger.isEnabledFor(level):
        extra = {**job.log_fields, "attempt": job.attempts, **fields}
        logger.log(level, "%s %s", type(job).__name__, event, extra=extra)


def _failed(job: Job, code: str, message: str, **fields: Any) -> None:
    _log(job, f"failed: {message}", logging.WARNING, code=code, **fields)
    _count(job, "failed")


def _count(job: Job, outcome: str) -> None:
    """Count the ended job in the stats of this process."""
    stats.count("jobs_ended", kind=job.kind(), outcome=outcome)


def _notify_changed(model: type[Job], ids: Sequence[Any]) -> None:
    if ids:
        jobs_changed.send(sender=model, ids=list(ids))
