"""The only module that changes the state of a job.

Each function is one short transaction. The holder of a lease is known by its name and the number of the attempt: a step
of a holder whose lease was given to another finds no row and changes nothing.

The database's clock alone decides about leases, so hosts whose clocks differ agree.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection, models, transaction
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


def claim(model: type[J], worker: str, limit: int, *, lease: timedelta | None = None) -> list[J]:
    """Take due jobs, oldest first, for a worker.

    A job whose earlier attempt did not end is claimed alone: if it is what kills workers, it takes no others along.

    Args:
        model: The kind of job.
        worker: Who takes them.
        limit: How many at the most.
        lease: How long the worker may be silent; the setting `JOB_LEASE` when None.

    Returns:
        The jobs, running, each with its attempt counted.
    """
    queued = _rows(model).filter(state=State.QUEUED)
    if not queued.exists():  # spares an idle worker the write lock
        return []
    with transaction.atomic():
        due = list(
            queued.order_by("queued_at", "pk")
            .select_for_update(skip_locked=True, of=("self",))
            .only("pk", "attempts")[:limit]
        )
        ids = [due[0].pk] if due and due[0].attempts else [job.pk for job in due if not job.attempts]
        _rows(model).filter(pk__in=ids, state=State.QUEUED).update(
            state=State.RUNNING,
            attempts=F("attempts") + 1,
            worker=worker,
            lease_expires_at=Now() + (lease or settings.JOB_LEASE),
            started_at=Now(),
            progress=0,
        )
        _tell(model, ids)
        claimed = list(_related(model).filter(pk__in=ids).order_by("queued_at", "pk"))
    for job in claimed:
        _log(job, "claimed", worker=job.worker)
    return claimed


def renew(jobs: Iterable[Job], *, lease: timedelta | None = None) -> int:
    """Say that the worker is alive.

    Returns:
        How many of the jobs are still held; the rest were cancelled or given to another worker.
    """
    return sum(_held(job).update(lease_expires_at=Now() + (lease or settings.JOB_LEASE)) for job in jobs)


def report(job: Job, *, lease: timedelta | None = None, **fields: Any) -> bool:
    """Renew the lease and store how far the job has come.

    Returns:
        False if the job is no longer held: then nothing was stored.
    """
    return bool(_held(job).update(lease_expires_at=Now() + (lease or settings.JOB_LEASE), **fields))


def give_back(job: Job, **fields: Any) -> bool:
    """Put a job back to the queue: its worker has to stop. Returns False if it is no longer held."""
    with transaction.atomic():
        given = _held(job).update(state=State.QUEUED, worker="", lease_expires_at=None, **fields)
        if given:
            _tell(type(job), [job.pk])
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


def forfeit(job: Job) -> None:
    """End the lease at once: what worked on the job died. The sweep decides whether it is tried again."""
    _held(job).update(lease_expires_at=Now() - timedelta(seconds=1))
    sweep(type(job))


def held(jobs: Iterable[J]) -> list[J]:
    """Those of the jobs that were neither cancelled nor given to another worker meanwhile."""
    return [job for job in jobs if _held(job).exists()]


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
        _tell(model, locked)
    for job in _related(model).filter(pk__in=locked):
        _log(job, "cancelled")
    return cancelled


def sweep(model: type[J]) -> tuple[int, int]:
    """Give expired jobs back to the queue, fail those out of attempts, and wake the workers if anything is due.

    May run in several places at once.

    Returns:
        How many were requeued and how many failed.
    """
    requeued = failed = 0
    expired = Q(state=State.RUNNING, lease_expires_at__lt=Now())
    if _rows(model).filter(expired).exists():
        with transaction.atomic():
            ids = list(
                _rows(model)
                .filter(expired)
                .select_for_update(skip_locked=True, of=("self",))
                .values_list("pk", flat=True)
            )
            lost = _rows(model).filter(expired, pk__in=ids)
            failed = lost.filter(model.exhausted()).update(
                state=State.FAILED,
                finished_at=Now(),
                lease_expires_at=None,
                error_code=WORKER_LOST,
                error=model.LOST_MESSAGE,
            )
            requeued = lost.update(state=State.QUEUED, worker="", lease_expires_at=None)
            _tell(model, ids)
        for job in _related(model).filter(pk__in=ids):
            if job.state == State.FAILED:
                _failed(job, WORKER_LOST, "its lease expired", worker=job.worker)
            else:
                _log(job, "requeued: its lease expired", logging.WARNING)
    if _rows(model).filter(state=State.QUEUED).exists():
        wake_up.send(sender=model)
    return requeued, failed


@contextmanager
def renewing(jobs: Sequence[Job]) -> Iterator[None]:
    """Renew the leases of jobs from a thread of its own while the body works on them."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(settings.JOB_LEASE.total_seconds() / 3):
            try:
                close_old_connections()
                renew(tuple(jobs))  # as they are now: the body may take and end some meanwhile
            except DatabaseError:
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
            _tell(type(ended[0]), [job.pk for job in ended])
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


def _tell(model: type[Job], ids: Sequence[Any]) -> None:
    if ids:
        jobs_changed.send(sender=model, ids=list(ids))
