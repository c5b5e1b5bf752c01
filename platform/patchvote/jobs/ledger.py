"""The only module that changes the state of a job.

Each function is one short transaction. The holder of a lease is known by its name and the number of the attempt: a step
of a holder whose lease was given to another finds no row and changes nothing.

The database's clock alone decides about leases and due times, so hosts whose clocks differ agree; the sweep puts right
what a step of that clock left implausibly far ahead.
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
    """The jobs that a worker may take now, oldest first."""
    now = Q(due_at=None) | Q(due_at__lte=Now())
    return _rows(model).filter(now, state=State.QUEUED).order_by("queued_at", "pk")


def claim(model: type[J], worker: str, limit: int, *, untried: bool = False) -> list[J]:
    """Take due jobs, oldest first, for a worker.

    A job whose earlier attempt did not end is claimed alone: if it is what kills workers, it takes no others along.

    Args:
        model: The kind of job.
        worker: Who takes them.
        limit: How many at the most.
        untried: Take none if it is the turn of a job that was tried before: the worker holds others just now.

    Returns:
        The jobs, running, each with its attempt counted.
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
    """Say that the worker is alive.

    Returns:
        How many of the jobs are still held; the rest were cancelled or given to another worker.
    """
    renewed = 0
    holders: dict[tuple[type[Job], str, int], list[Any]] = {}
    for job in jobs:
        holders.setdefault((type(job), job.worker, job.attempts), []).append(job.pk)
    for (model, worker, attempts), ids in holders.items():  # mostly one: claimed by this worker, for the first time
        rows = _rows(model).filter(pk__in=ids, state=State.RUNNING, worker=worker, attempts=attempts)
        renewed += rows.update(lease_expires_at=Now() + settings.JOB_LEASE)
    return renewed


def report(job: Job, **fields: Any) -> bool:
    """Renew the lease and store how far the job has come.

    Returns:
        False if the job is no longer held: then nothing was stored.
    """
    return bool(_held(job).update(lease_expires_at=Now() + settings.JOB_LEASE, **fields))


def give_back(job: Job, *, untried: bool = False, **fields: Any) -> bool:
    """Put a job back to the queue: its worker has to stop.

    Args:
        job: As claimed.
        untried: Nothing went wrong with it, so that the attempt does not count. (No two processes share a name, so the
            next holder is still known from this one.)
        fields: Stored as well.

    Returns:
        False if it is no longer held.
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
    """A transaction in which nobody else can end the job: to store its result and end it as one step.

    Yields:
        False if the job is no longer held: then nothing must be stored.
    """
    with transaction.atomic():
        yield bool(_held(job).select_for_update(of=("self",)).values_list("pk", flat=True))


def expire_lease(job: Job) -> None:
    """End the lease at once: what worked on the job died. The sweep decides whether it is tried again."""
    _held(job).update(lease_expires_at=Now() - timedelta(seconds=1))
    sweep(type(job))


def held(jobs: Iterable[J]) -> list[J]:
    """Those of the jobs that were neither cancelled nor given to another worker meanwhile."""
    jobs = list(jobs)
    if not jobs:
        return []
    model, ids = type(jobs[0]), [job.pk for job in jobs]
    running = _rows(model).filter(pk__in=ids, state=State.RUNNING)
    holders = set(running.values_list("pk", "attempts", "worker"))
    return [job for job in jobs if (job.pk, job.attempts, job.worker) in holders]


def succeed(results: Iterable[tuple[Job, dict[str, Any]]]) -> int:
    """Store the results of jobs of one model and end them, in one transaction.

    Args:
        results: Jobs as claimed, each with fields of its model.

    Returns:
        How many were stored; a job that is no longer held stores nothing.
    """
    # Rows are locked in one order everywhere, so that no two transactions wait for each other.
    pairs = sorted(results, key=lambda pair: pair[0].pk)
    return _end(
        [(job, State.SUCCEEDED, {"progress": 1, "error_code": "", "error": "", **fields}) for job, fields in pairs]
    )


def fail(job: Job, code: str, message: str) -> bool:
    """End a job with an error that trying again will not cure. Returns False if it is no longer held."""
    return bool(_end([(job, State.FAILED, {"error_code": code, "error": message})]))


def cancel(model: type[J], ids: Sequence[Any]) -> int:
    """Cancel those of the jobs that have not ended. Returns how many."""
    with transaction.atomic():
        rows = _rows(model).filter(pk__in=ids, state__in=OPEN_STATES)
        locked = list(rows.select_for_update(of=("self",)).order_by("pk").values_list("pk", flat=True))
        cancelled = rows.filter(pk__in=locked).update(state=State.CANCELLED, finished_at=Now(), lease_expires_at=None)
        _notify_changed(model, locked)
    for job in _related(model).filter(pk__in=locked):
        _log(job, "cancelled")
    return cancelled


def sweep(model: type[J]) -> tuple[int, int]:
    """Give expired jobs back to the queue, fail those out of attempts, and wake the workers if anything is due.

    The first retry is due at once, each further one later than the one before it. May run in several places at once.

    Returns:
        How many were requeued and how many failed.
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
    """After a step back of the clock, what would have ended in a moment would end in an hour: let it end in time."""
    far_leases = _rows(model).filter(state=State.RUNNING, lease_expires_at__gt=Now() + 2 * settings.JOB_LEASE)
    far_retries = _rows(model).filter(state=State.QUEUED, due_at__gt=Now() + 2 * settings.JOB_RETRY_LONGEST)
    # Who holds the lease renews it long before it ends; who died is given up as if it had just been heard of.
    if far_leases.exists():
        far_leases.update(lease_expires_at=Now() + settings.JOB_LEASE)
    if far_retries.exists():
        far_retries.update(due_at=None)


@contextmanager
def renewing(jobs: Sequence[Job], check: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Renew the leases of jobs from a thread of its own while the body works on them.

    Args:
        jobs: May change meanwhile: the body may take and end some.
        check: Called before each renewal: it may end a process that hangs.
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
    """Jobs with what their lines in the log need."""
    return _rows(model).select_related(*model.RELATED) if model.RELATED else _rows(model)


def _log(job: Job, event: str, level: int = logging.INFO, **fields: Any) -> None:
    """One line for each step of a job, after its transaction."""
    if logger.isEnabledFor(level):
        about = {**job.log_fields, "attempt": job.attempts, **fields}
        logger.log(level, "%s %s", type(job).__name__, event, extra=about)


def _failed(job: Job, code: str, message: str, **fields: Any) -> None:
    _log(job, f"failed: {message}", logging.WARNING, code=code, **fields)
    _count(job, "failed")


def _count(job: Job, outcome: str) -> None:
    """In the stats of the process that ended it."""
    stats.count("jobs_ended", kind=job.kind(), outcome=outcome)


def _notify_changed(model: type[Job], ids: Sequence[Any]) -> None:
    if ids:
        jobs_changed.send(sender=model, ids=list(ids))
