"""What a training worker does: it claims jobs and supervises the child processes that do them.

Beside the one training run that a worker has at a time, one short job is done: whoever adds a data set, uploads a
bundle or compares two models does not wait for hours.
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
from patchvote.training.job_registry import RUNS, SHORT, tidy
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
"""The database is away or locked, and will be back; any other error of it comes again each time."""


def work(poll_seconds: float = _POLL_SECONDS) -> None:
    """Work until no job is due or the process is asked to stop.

    Args:
        poll_seconds: Pause between two looks at the child processes and the queue.
    """
    at_work: list[SupervisedJob] = []
    slots = [Slot(RUNS, at_work), Slot(SHORT, at_work)]
    with ledger.renewing(at_work):  # however long one step takes, no lease runs out
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
    """Room for one job at a time."""

    def __init__(self, handlers: Sequence[Handler[Any]], at_work: list[SupervisedJob]) -> None:
        """Empty at first.

        Args:
            handlers: Of the kinds of jobs that it takes, the most urgent first.
            at_work: Gets the job in it, as long as it is there.
        """
        self._handlers, self._jobs = handlers, at_work
        self._at_work: ChildSupervisor | None = None

    def step(self) -> bool:
        """Take a job if there is room, else look after the one that is there. Never waits for long.

        Returns:
            False if there was nothing to do.
        """
        if self._at_work is None:
            return self._claim()
        if not self._at_work.step():
            self._leave()
        return True

    def stop(self) -> None:
        """End the child, and give the job back to the queue."""
        if self._at_work is None:
            return
        try:
            self._at_work.give_back()
        except DatabaseError:
            logger.exception("a job could not be given back: the sweep does it")
        self._leave()

    def _claim(self) -> bool:
        for handler in self._handlers:
            for job in ledger.claim(handler.model, heartbeat.NAME, 1):
                self._jobs.append(job)
                try:
                    self._at_work = _begin(job, handler)
                finally:
                    if self._at_work is None:  # else its lease would be renewed for ever, and nobody would do it
                        self._jobs.remove(job)
                return True
        return False

    def _leave(self) -> None:
        if self._at_work is not None:
            self._jobs.remove(self._at_work.job)
            self._at_work = None


def _begin(job: SupervisedJob, handler: Handler[Any]) -> ChildSupervisor | None:
    """Start the child; None where the job has ended without one."""
    try:
        return ChildSupervisor(job, handler, handler.order(job))
    except NothingToDoError as done:
        ledger.succeed([(job, done.fields)])
    except RefusedError as refusal:
        _refuse(job, refusal)
    except BundleError as error:
        _refuse(job, RefusedError("bad_bundle", str(error)))
    except OSError as error:
        logger.exception("%s %s could not be started", type(job).__name__, job.pk)
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        _refuse(job, RefusedError("disk_full", DISK_FULL) if full else RefusedError("file_gone", FILES_UNREADABLE))
    except _OUTAGES:
        ledger.expire_lease(job)
        raise
    except Exception:
        logger.exception("%s %s could not be started", type(job).__name__, job.pk)
        _refuse(job, RefusedError("failed", CRASHED))
    return None


class ChildSupervisor:
    """The supervisor of one child process, which does one job."""

    def __init__(self, job: SupervisedJob, handler: Handler[Any], order: Order) -> None:
        """Start the child."""
        self.job, self._handler = job, handler
        self._told: deque[Event] = deque()
        self._seen: deque[tuple[float, float]] = deque()
        self._furthest = job.furthest
        self._child = Child(job.folder, order)
        logger.info("%s %s: attempt %d, process %d", type(job).__name__, job.pk, job.attempts, self._child.pid)

    def step(self) -> bool:
        """Pass on what the child told, and see to its end.

        Returns:
            False once the job is no longer ours.
        """
        ended = self._child.ended  # asked first: what it told before its end is read below
        try:
            if not self._pass_on():
                logger.info("%s %s was cancelled or given away", type(self.job).__name__, self.job.pk)
                self._child.end()
                tidy(type(self.job), [self.job.pk])
                return False
            if not ended:
                return True
            self._finish(self._child.outcome)
        except _OUTAGES:
            # Nothing is lost: the child goes on, what it tells waits, and its outcome stays in its folder.
            logger.exception("%s %s: the database does not answer", type(self.job).__name__, self.job.pk)
            return True
        except Exception:
            logger.exception("%s %s", type(self.job).__name__, self.job.pk)
            self._child.end()
            _refuse(self.job, RefusedError("failed", CRASHED))
        self._child.close()
        return False

    def give_back(self) -> None:
        """End the child and let another worker go on where it was."""
        self._child.end()
        # It was us who ended it: this attempt does not count against the job.
        ledger.give_back(self.job, advanced_at_attempt=self.job.attempts)

    def _pass_on(self) -> bool:
        """Store what was told; what cannot be stored now is kept for the next time."""
        self._told.extend(self._child.events())
        progress = [event for event in self._told if isinstance(event, Progress)]
        if not ledger.report(self.job, **(self._progressed(progress[-1]) if progress else {})):
            return False
        if progress:
            self._furthest = max(self._furthest, progress[-1].fraction)
        while self._told:
            if not isinstance(self._told[0], Progress):
                self._handler.happened(self.job, self._told[0])
            self._told.popleft()
        return True

    def _progressed(self, event: Progress) -> dict[str, Any]:
        now = time.monotonic()
        self._seen.append((now, event.fraction))
        while now - self._seen[0][0] > _ETA_SPAN_SECONDS:
            self._seen.popleft()
        began, started_at = self._seen[0]
        gained = event.fraction - started_at
        left = round((1 - event.fraction) * (now - began) / gained) if gained > _LEAST_ADVANCE else None
        fields = {"progress": event.fraction, "stage": _stage(event), "seconds_left": left}
        if event.fraction > self._furthest + _LEAST_ADVANCE:
            fields |= {"furthest": event.fraction, "advanced_at_attempt": self.job.attempts}
        return fields

    def _finish(self, outcome: Outcome | None) -> None:
        job = self.job
        if outcome is None and self._child.died_for_memory:
            _refuse(job, RefusedError("out_of_memory", OUT_OF_MEMORY))
        elif outcome is None:
            logger.warning("%s %s: its process died", type(job).__name__, job.pk)
            ledger.expire_lease(job)
        elif isinstance(outcome, Failed):
            _refuse(job, outcome)
        else:
            self._store(outcome.result)

    def _store(self, result: dict[str, Any]) -> None:
        """Keep the result and end the job as one step: a job that was cancelled meanwhile keeps nothing."""
        try:
            with ledger.holding(self.job) as held:
                if held:
                    fields = self._handler.succeeded(self.job, result)
                    ledger.succeed([(self.job, {"stage": "", "seconds_left": None, **fields})])
        except RefusedError as refusal:
            _refuse(self.job, refusal)
        except BundleError as error:
            _refuse(self.job, RefusedError("bad_bundle", str(error)))


def _refuse(job: SupervisedJob, why: RefusedError | Failed) -> None:
    """End a job with a reason and all that belongs to it."""
    ledger.report(job, error_details=list(why.details))
    ledger.fail(job, why.code, why.message)


def _stage(event: Progress) -> str:
    counted = f" {event.done}/{event.total}" if event.total > 1 else ""
    return f"{event.stage[:60]}{counted}"
