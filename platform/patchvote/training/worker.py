"""What a training worker does: it claims jobs and supervises the child processes that do them.

Beside the one training run that a worker has at a time, one short job is done: whoever adds a data set, uploads a
bundle or compares two models does not wait for hours.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from django.db import DatabaseError, close_old_connections
from django.utils.translation import gettext_noop

from patchvote.jobs import heartbeat, ledger
from patchvote.jobs.supervised import SupervisedJob
from patchvote.training.child import Child
from patchvote.training.comparisons import ComparisonHandler
from patchvote.training.data_sets import DataSetHandler
from patchvote.training.handlers import Handler, NothingToDoError, RefusedError
from patchvote.training.runs import RunHandler
from patchvote.training.uploads import BundleUploadHandler
from trainer.work.orders import Event, Failed, Outcome, Progress

logger = logging.getLogger(__name__)

OUT_OF_MEMORY = gettext_noop(
    "The machine's memory was not enough. Choose a smaller network or batch size, or give the machine more memory."
)
CRASHED = gettext_noop("What came out of this could not be stored. Tell an administrator; the log has the reason.")

_TICK_SECONDS = 0.5
_ETA_SPAN_SECONDS = 90
_LEAST_ADVANCE = 1e-4

RUNS: Sequence[Handler[Any]] = (RunHandler(),)
SHORT: Sequence[Handler[Any]] = (DataSetHandler(), BundleUploadHandler(), ComparisonHandler())
HANDLERS: Sequence[Handler[Any]] = (*RUNS, *SHORT)


def work() -> None:
    """Work until nothing is due, or the process was told to stop."""
    slots = [Slot(RUNS), Slot(SHORT)]
    try:
        while not heartbeat.stopping():
            close_old_connections()
            at_work = [slot.step() for slot in slots]
            if not any(at_work):
                return
            time.sleep(_TICK_SECONDS)
    finally:
        for slot in slots:
            slot.stop()


class Slot:
    """Room for one job at a time."""

    def __init__(self, handlers: Sequence[Handler[Any]]) -> None:
        """Empty at first.

        Args:
            handlers: Of the kinds of jobs that it takes, the most urgent first.
        """
        self._handlers = handlers
        self._at_work: Supervision | None = None

    def step(self) -> bool:
        """Take a job if there is room, else look after the one that is there. Never waits for long.

        Returns:
            False if there was nothing to do.
        """
        if self._at_work is None:
            self._at_work = self._claim()
            return self._at_work is not None
        if not self._at_work.step():
            self._at_work = None
        return True

    def stop(self) -> None:
        """Give the job back to the queue."""
        if self._at_work is not None:
            self._at_work.give_back()
            self._at_work = None

    def _claim(self) -> Supervision | None:
        for handler in self._handlers:
            for job in ledger.claim(handler.model, heartbeat.NAME, 1):
                try:
                    return Supervision(job, handler)
                except RefusedError as refusal:
                    _refuse(job, refusal)
                    handler.ended(job)
                except NothingToDoError as done:
                    ledger.succeed([(job, done.fields)])
                except Exception:
                    logger.exception("%s %s could not be started", type(job).__name__, job.pk)
                    ledger.forfeit(job)
        return None


class Supervision:
    """One job and the child that does it."""

    def __init__(self, job: SupervisedJob, handler: Handler[Any]) -> None:
        """Start the child."""
        self._job, self._handler = job, handler
        self._seen: deque[tuple[float, float]] = deque()
        self._furthest = job.furthest
        with ledger.renewing([job]):
            order = handler.order(job)
        self._child = Child(job.folder, order)
        logger.info("%s %s: attempt %d, process %d", type(job).__name__, job.pk, job.attempts, self._child.pid)

    def step(self) -> bool:
        """Pass on what the child told, and see to its end.

        Returns:
            False once the job is no longer ours.
        """
        ended = self._child.ended  # asked first: what it told before its end is read below
        try:
            if not self._pass_on(list(self._child.events())):
                logger.info("%s %s was cancelled or given away", type(self._job).__name__, self._job.pk)
                self._child.end()
                self._handler.ended(self._job)
                return False
            if not ended:
                return True
            self._child.close()
            self._finish(self._child.outcome)
        except DatabaseError:
            # Nothing is lost: the child goes on, and its outcome stays in its folder until it can be stored.
            logger.exception("%s %s: the database does not answer", type(self._job).__name__, self._job.pk)
            return True
        return False

    def give_back(self) -> None:
        """End the child and let another worker go on where it was."""
        self._child.end()
        # It was us who ended it: this attempt does not count against the job.
        ledger.give_back(self._job, advanced_at_attempt=self._job.attempts)

    def _pass_on(self, events: Sequence[Event]) -> bool:
        fields: dict[str, Any] = {}
        for event in events:
            if isinstance(event, Progress):
                fields = self._progressed(event)
        if not ledger.report(self._job, **fields):
            return False
        for event in events:
            if not isinstance(event, Progress):
                self._handler.happened(self._job, event)
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
            self._furthest = event.fraction
            fields |= {"furthest": event.fraction, "advanced_at_attempt": self._job.attempts}
        return fields

    def _finish(self, outcome: Outcome | None) -> None:
        job = self._job
        if outcome is None and self._child.died_for_memory:
            ledger.fail(job, "out_of_memory", OUT_OF_MEMORY)
        elif outcome is None:
            logger.warning("%s %s: its process died", type(job).__name__, job.pk)
            ledger.forfeit(job)
            return
        elif isinstance(outcome, Failed):
            _refuse(job, outcome)
        else:
            self._store(outcome.result)
        self._handler.ended(job)

    def _store(self, result: dict[str, Any]) -> None:
        job = self._job
        try:
            fields = self._handler.succeeded(job, result)
            ledger.succeed([(job, {"stage": "", "seconds_left": None, **fields})])
        except RefusedError as refusal:
            _refuse(job, refusal)
        except DatabaseError:
            raise
        except Exception:
            logger.exception("%s %s", type(job).__name__, job.pk)
            ledger.fail(job, "failed", CRASHED)


def _refuse(job: SupervisedJob, why: RefusedError | Failed) -> None:
    """End a job with a reason and all that belongs to it."""
    ledger.report(job, error_details=list(why.details))
    ledger.fail(job, why.code, why.message)


def _stage(event: Progress) -> str:
    counted = f" {event.done}/{event.total}" if event.total > 1 else ""
    return f"{event.stage[:60]}{counted}"
