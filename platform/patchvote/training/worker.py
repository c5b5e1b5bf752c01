"""The training worker: it claims jobs and supervises the child processes that do them.

A worker does one training run and one short job at the same time, so that users who add a data set, upload a bundle or
compare two models do not wait for hours.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from django.db import DatabaseError, InterfaceError, OperationalError, close_old_connections
from django.utils.translation import gettext_noop

from classifier.bundle import BundleError
from patchvote.jobs import heartbeat, ledger
from patchvote.jobs.supervised import SupervisedJob
from patchvote.training.child import Child
from patchvote.training.job_handlers import Handler, NothingToDoError, RefusedError
from patchvote.training.job_registry import RUNS, SHORT, clean_up
from trainer.worker.protocol import Event, Failed, Order, Outcome, Progress

logger = logging.getLogger(__name__)

OUT_OF_MEMORY = gettext_noop(
    "The machine's memory was not enough. Choose a smaller network or batch size, or give the machine more memory."
)
CRASHED = gettext_noop("Something went wrong on the server. Tell an administrator; the worker's log has the reason.")
DISK_FULL = gettext_noop("The disk is full. Make room, then start this again.")
FILES_UNREADABLE = gettext_noop("Files that this needs cannot be read on the server. Tell an administrator.")

_POLL_SECONDS = 0.5
_ETA_SPAN_SECONDS = 90
_LEAST_ADVANCE = 1e-4
_OUTAGES = (OperationalError, InterfaceError)
"""Errors of a database that is unreachable or locked, and so temporary; other database errors would repeat."""


def work(poll_seconds: float = _POLL_SECONDS) -> None:
    """Work until the queue is empty or the process has to stop.

    Args:
        poll_seconds: The pause between two checks of the child processes and the queue.
    """
    active: list[SupervisedJob] = []
    slots = [Slot(RUNS, active), Slot(SHORT, active)]
    with ledger.renewing(active):  # no lease expires, however long a step takes
        try:
            while not heartbeat.stopping():
                close_old_connections()
                busy = [_step(slot) for slot in slots]
                if not any(busy):
                    return
                time.sleep(poll_seconds)
        finally:
            for slot in slots:
                slot.stop()


def _step(slot: Slot) -> bool:
    try:
        return slot.step()
    except DatabaseError:
        logger.exception("the database does not answer, trying again")
        return True


class Slot:
    """A slot of the worker, which runs one job at a time."""

    def __init__(self, handlers: Sequence[Handler[Any]], active: list[SupervisedJob]) -> None:
        """Start without a job.

        Args:
            handlers: The handlers of the kinds of jobs that the slot runs, the most urgent first.
            active: The list of running jobs, whose leases are renewed; the slot adds and removes its job.
        """
        self._handlers, self._active = handlers, active
        self._supervisor: ChildSupervisor | None = None

    def step(self) -> bool:
        """Claim a job if the slot is free, else check the running one. Returns quickly.

        Returns:
            False if there was nothing to do.
        """
        if self._supervisor is None:
            return self._claim()
        if not self._supervisor.step():
            self._release()
        return True

    def stop(self) -> None:
        """End the child process and give the job back to the queue."""
        if self._supervisor is None:
            return
        try:
            self._supervisor.give_back()
        except DatabaseError:
            logger.exception("the job could not be given back; the sweep will do it")
        self._release()

    def _claim(self) -> bool:
        for handler in self._handlers:
            for job in ledger.claim(handler.model, heartbeat.NAME, 1):
                self._active.append(job)
                try:
                    self._supervisor = _begin(job, handler)
                finally:
                    if self._supervisor is None:  # otherwise its lease would be renewed although no child does the job
                        self._active.remove(job)
                return True
        return False

    def _release(self) -> None:
        if self._supervisor is not None:
            self._active.remove(self._supervisor.job)
            self._supervisor = None


def _begin(job: SupervisedJob, handler: Handler[Any]) -> ChildSupervisor | None:
    """Start the child process of a job; return None if the job has ended without one."""
    try:
        return ChildSupervisor(job, handler, handler.create_order(job))
    except NothingToDoError as done:
        ledger.succeed([(job, done.fields)])
    except RefusedError as refusal:
        _fail(job, refusal)
    except BundleError as error:
        _fail(job, RefusedError("bad_bundle", str(error)))
    except OSError as error:
        logger.exception("%s %s could not be started", type(job).__name__, job.pk)
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        _fail(job, RefusedError("disk_full", DISK_FULL) if full else RefusedError("file_gone", FILES_UNREADABLE))
    except _OUTAGES:
        ledger.expire_lease(job)
        raise
    except Exception:
        logger.exception("%s %s could not be started", type(job).__name__, job.pk)
        _fail(job, RefusedError("failed", CRASHED))
    return None


class ChildSupervisor:
    """The supervisor of one child process, which does one job."""

    def __init__(self, job: SupervisedJob, handler: Handler[Any], order: Order) -> None:
        """Start the child process."""
        self.job, self._handler = job, handler
        self._events: deque[Event] = deque()
        self._progress_history: deque[tuple[float, float]] = deque()
        self._furthest = job.furthest
        self._child = Child(job.folder, order)
        logger.info("%s %s: attempt %d, process %d", type(job).__name__, job.pk, job.attempts, self._child.pid)

    def step(self) -> bool:
        """Store the events of the child process, and finish the job when the process has ended.

        Returns:
            False once this worker no longer holds the job.
        """
        ended = self._child.ended  # read first, so that events written before the end are handled below
        try:
            if not self._store_events():
                logger.info("%s %s was cancelled or given to another worker", type(self.job).__name__, self.job.pk)
                self._child.end()
                clean_up(type(self.job), [self.job.pk])
                return False
            if not ended:
                return True
            self._finish(self._child.outcome)
        except _OUTAGES:
            # Nothing is lost: the child continues, its events are kept, and its outcome stays in its folder.
            logger.exception("%s %s: the database does not answer", type(self.job).__name__, self.job.pk)
            return True
        except Exception:
            logger.exception("%s %s failed", type(self.job).__name__, self.job.pk)
            self._child.end()
            _fail(self.job, RefusedError("failed", CRASHED))
        self._child.close()
        return False

    def give_back(self) -> None:
        """End the child process and let another worker continue the job from its checkpoint."""
        self._child.end()
        # This worker ended the child, so the attempt does not count against the job.
        ledger.give_back(self.job, advanced_at_attempt=self.job.attempts)

    def _store_events(self) -> bool:
        """Store the new events; keep the ones that cannot be stored now for the next step.

        Returns:
            False if this worker no longer holds the job.
        """
        self._events.extend(self._child.events())
        progress = [event for event in self._events if isinstance(event, Progress)]
        if not ledger.report(self.job, **(self._progress_fields(progress[-1]) if progress else {})):
            return False
        if progress:
            self._furthest = max(self._furthest, progress[-1].fraction)
        while self._events:
            if not isinstance(self._events[0], Progress):
                self._handler.handle_event(self.job, self._events[0])
            self._events.popleft()
        return True

    def _progress_fields(self, event: Progress) -> dict[str, Any]:
        now = time.monotonic()
        self._progress_history.append((now, event.fraction))
        while now - self._progress_history[0][0] > _ETA_SPAN_SECONDS:
            self._progress_history.popleft()
        began, began_at = self._progress_history[0]
        gained = event.fraction - began_at
        left = round((1 - event.fraction) * (now - began) / gained) if gained > _LEAST_ADVANCE else None
        fields = {"progress": event.fraction, "stage": _stage(event), "seconds_left": left}
        if event.fraction > self._furthest + _LEAST_ADVANCE:
            fields |= {"furthest": event.fraction, "advanced_at_attempt": self.job.attempts}
        return fields

    def _finish(self, outcome: Outcome | None) -> None:
        job = self.job
        if outcome is None and self._child.died_for_memory:
            _fail(job, RefusedError("out_of_memory", OUT_OF_MEMORY))
        elif outcome is None:
            logger.warning("%s %s: its process died", type(job).__name__, job.pk)
            ledger.expire_lease(job)
        elif isinstance(outcome, Failed):
            _fail(job, outcome)
        else:
            self._store_result(outcome.result)

    def _store_result(self, result: dict[str, Any]) -> None:
        """Store the result and end the job in one transaction; a job that was cancelled meanwhile stores nothing."""
        try:
            with ledger.holding(self.job) as held:
                if held:
                    fields = self._handler.store_result(self.job, result)
                    ledger.succeed([(self.job, {"stage": "", "seconds_left": None, **fields})])
        except RefusedError as refusal:
            _fail(self.job, refusal)
        except BundleError as error:
            _fail(self.job, RefusedError("bad_bundle", str(error)))


def _fail(job: SupervisedJob, reason: RefusedError | Failed) -> None:
    """End a job as failed, with the details of the reason."""
    ledger.report(job, error_details=list(reason.details))
    ledger.fail(job, reason.code, reason.message)


def _stage(event: Progress) -> str:
    counted = f" {event.done}/{event.total}" if event.total > 1 else ""
    return f"{event.stage[:60]}{counted}"
