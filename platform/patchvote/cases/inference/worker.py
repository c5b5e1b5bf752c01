"""The inference worker: it claims queued analyses, computes them in batches and stores the results.

A worker is a Celery worker with the `solo` pool: one process per GPU (or for the CPU). Only its main thread uses the
database and starts forward passes. While a batch is computed, the main thread claims the next batch, whose images are
decoded by other threads, and queues its forward pass behind the current one, so that the device stays busy while the
results of the current batch are stored. Other threads load the next network and create thumbnails.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from celery.exceptions import WorkerShutdown
from django.conf import settings
from django.db import Error as DatabaseFailure
from django.utils.translation import gettext_noop

from classifier.bundle import BundleError
from classifier.engine.devices import DeviceError, check
from patchvote.cases import services, thumbnails
from patchvote.cases.inference import model_cache
from patchvote.cases.inference.batches import DECODERS, Batch, readable, split_into_batches
from patchvote.cases.inference.watchdog import Watchdog
from patchvote.cases.models import Analysis
from patchvote.jobs import heartbeat, ledger, stats
from patchvote.jobs.models import workers_alive
from patchvote.registry.services import NoChampionError, champion

logger = logging.getLogger(__name__)

MODEL_UNUSABLE = gettext_noop("The model cannot be loaded. Analyse again with another one, or tell an administrator.")
FORWARD_FAILED = gettext_noop("The model could not read this image. Tell an administrator; the log has the reason.")

SECONDS_TO_FINISH = 5
"""Time that a stopping worker has to finish the current batch; a batch that takes longer returns to the queue."""

PROGRESS_SECONDS = 2
"""Minimum time between two progress reports of a batch."""

_USUAL_PATCHES = 15


class Stopped(Exception):  # noqa: N818 (no error)
    """Signals that the result of a batch is no longer wanted, or that the worker has to stop before it is done."""


class ModelUnusable(Exception):  # noqa: N818 (as Stopped)
    """Signals that the network of a batch cannot be loaded."""


class ForwardFailed(Exception):  # noqa: N818 (as Stopped)
    """Signals that the forward pass of a batch failed."""


class InferenceRun:
    """A run of an inference worker, which lasts until the queue is empty or the process has to stop."""

    patches_an_image: float = _USUAL_PATCHES
    """Mean number of patches per image in the latest batch; shared by all runs of the process."""

    batch_size: int | None = None
    """Number of patches in a forward pass of the network that was used last; shared by all runs of the process."""

    def __init__(self) -> None:
        """Start without any claimed analysis."""
        self.held: list[Analysis] = []
        self._pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        self._batches: deque[Batch] = deque()
        self._watchdog = Watchdog(settings.INFERENCE_STALL)

    def run(self) -> None:
        """Claim and compute batches until the queue is empty or the process has to stop.

        Raises:
            WorkerShutdown: If the device stopped computing: only a new process can use it again.
        """
        with ledger.renewing(self.held, self._watchdog.check):
            try:
                while self._prepare():
                    batch = self._batches.popleft()
                    self._analyse(batch)
                    self.held[:] = [analysis for analysis in self.held if analysis not in batch.analyses]
                self._pool.shutdown(cancel_futures=heartbeat.stopping())
            except DeviceError as error:
                self._expire_current()
                raise _shut_down(error) from error
            finally:
                self._give_back_waiting()
                self._pool.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, beside: Batch | None = None) -> bool:
        """Start to decode and load for the next batch; claim more analyses if no batch waits.

        Args:
            beside: The batch that is being computed. If it may kill the worker, nothing is claimed beside it.

        Returns:
            Whether there is a next batch.
        """
        if heartbeat.stopping() or (beside and beside.tried):
            return False
        if not self._batches:
            claimed = ledger.claim(Analysis, heartbeat.NAME, self._claim_size(), untried=beside is not None)
            self.held.extend(claimed)
            self._batches.extend(split_into_batches(claimed))
        if not self._batches:
            return False
        self._batches[0].prepare(self._pool)
        return True

    def _claim_size(self) -> int:
        """Return how many images fill one forward pass, limited to this worker's fair share of the queue."""
        fitting = max(1, round((self.batch_size or 1) / self.patches_an_image))
        most = max(1, min(settings.INFERENCE_BATCH, fitting))
        workers = workers_alive()["inference"] if most > 1 else 1
        if workers > 1:
            most = min(most, math.ceil(ledger.due(Analysis)[: most * workers].count() / workers))
        return max(1, most)

    def _analyse(self, batch: Batch) -> None:
        """Compute a batch and store its results, while the next batch is prepared.

        Raises:
            DeviceError: If the device does not compute.
        """
        try:
            self._begin(batch)
            self._ahead(batch, lambda: self._prepare(beside=batch))
            self._finish(batch)
        except ModelUnusable:
            logger.exception(
                "model version cannot be loaded", extra={"model_version": str(batch.analyses[0].model_version_id)}
            )
            for analysis in batch.analyses:
                ledger.fail(analysis, "model_unusable", MODEL_UNUSABLE)
        except ForwardFailed as failure:
            check(batch.predictor.result().engine.device)
            self._after_failure(batch, failure)
        except Stopped:
            batch.stop()
            for analysis in batch.analyses:
                ledger.give_back(analysis, untried=True)

    def _begin(self, batch: Batch) -> None:
        """Start the forward pass of a batch, behind the passes that were started before it.

        Raises:
            ModelUnusable: If the network cannot be loaded.
            DeviceError: If the device does not compute.
            ForwardFailed: If the network cannot take an image.
            Stopped: If the pass was started ahead and its result is no longer wanted.
        """
        if batch.passing:
            if not ledger.held(batch.analyses):  # started ahead, and cancelled since
                raise Stopped
            return
        try:
            predictor = batch.predictor.result()
        except (BundleError, ValueError, RuntimeError) as error:  # invalid, incompatible, out of memory
            raise ModelUnusable from error
        InferenceRun.batch_size = predictor.batch_size
        self._watchdog.reset()
        batch.readable = list(readable(batch))
        self._watchdog.reset()
        if batch.readable:
            try:
                batch.passing = predictor.start([pixels for _analysis, pixels in batch.readable])
            except (ValueError, RuntimeError) as error:
                raise ForwardFailed from error

    def _ahead(self, batch: Batch, action: Callable[[], object]) -> None:
        """Run an action for the next batch while the current one is computed; a failed action is repeated later.

        Errors do not propagate: they would be mistaken for errors of the batch that is being computed.
        """
        try:
            action()
        except Exception:
            logger.exception("work ahead failed", extra=batch.analyses[0].log_fields)

    def _begin_next(self, batch: Batch) -> None:
        """Start the pass of the next batch behind the current one, once, as soon as it need not wait for anything."""
        following = self._batches[0] if self._batches else None
        if following and following.may_follow(batch) and not heartbeat.stopping():
            following.ahead = True
            self._ahead(following, lambda: self._begin(following))

    def _finish(self, batch: Batch) -> None:
        """Wait for the forward pass of a batch and store its results.

        Raises:
            ForwardFailed: If the network does not return finite numbers.
            Stopped: If the result is no longer wanted or the worker has to stop.
        """
        if not batch.passing:
            return
        try:
            with stats.stage("forward"):
                predictions = batch.passing.predictions(self._progress(batch))
        except (ValueError, RuntimeError) as error:
            raise ForwardFailed from error
        InferenceRun.patches_an_image = sum(len(prediction.votes) for prediction in predictions) / len(predictions)
        stats.observe_batch(len(predictions))
        predictor = batch.predictor.result()
        engine = str(predictor.engine)
        with stats.stage("store"):
            ledger.succeed(
                (analysis, {"engine": engine, **prediction.as_dict()})
                for (analysis, _pixels), prediction in zip(batch.readable, predictions, strict=True)
            )
        logger.info("batch done", extra={"images": len(predictions), "model": predictor.bundle.metadata.name})
        for analysis, decoded in batch.readable:
            self._pool.submit(thumbnails.create_previews, analysis.image, decoded)

    def _after_failure(self, batch: Batch, failure: ForwardFailed) -> None:
        """Fail the analysis of a single image; retry the images of a larger batch one by one to find the bad one."""
        if len(batch.readable) == 1:
            logger.error("forward pass failed", exc_info=failure, extra=batch.readable[0].analysis.log_fields)
            ledger.fail(batch.readable[0].analysis, "inference_failed", FORWARD_FAILED)
            return
        logger.error(
            "forward pass failed, retrying image by image", exc_info=failure, extra={"images": len(batch.readable)}
        )
        for following in self._batches:
            following.stop()  # otherwise each image would wait until those passes are computed
        for analysis, decoded in zip(batch.analyses, batch.decoded, strict=True):
            if heartbeat.stopping():
                ledger.give_back(analysis, untried=True)
            else:
                self._analyse(Batch([analysis], batch.predictor, [decoded]))

    def _progress(self, batch: Batch) -> Callable[[float], None]:
        """Return the callback that a forward pass calls with the computed share, 0..1."""
        analyses = [analysis for analysis, _pixels in batch.readable]
        reported = time.monotonic()
        stopping_since: float | None = None

        def on_progress(share: float) -> None:
            nonlocal reported, stopping_since
            now = time.monotonic()
            self._watchdog.reset()
            self._begin_next(batch)
            if share == 1:
                return
            if heartbeat.stopping():
                stopping_since = stopping_since or now
                if now - stopping_since > SECONDS_TO_FINISH:
                    raise Stopped
            if now - reported > PROGRESS_SECONDS:
                reported = now
                if not services.report_progress(analyses, share):
                    raise Stopped

        return on_progress

    def _expire_current(self) -> None:
        """Expire the leases of the current batch: it may be what breaks devices, so its attempt must count."""
        waiting = {analysis.pk for batch in self._batches for analysis in batch.analyses}
        for analysis in self.held:
            if analysis.pk not in waiting:
                try:
                    ledger.expire_lease(analysis)
                except DatabaseFailure:
                    logger.exception("the lease could not be expired; it runs out by itself", extra=analysis.log_fields)

    def _give_back_waiting(self) -> None:
        """Return the waiting batches to the queue; after an error, the leases of the current batch run out."""
        for batch in self._batches:
            batch.stop()
            for analysis in batch.analyses:
                try:
                    ledger.give_back(analysis, untried=True)
                except DatabaseFailure:
                    logger.exception(
                        "the analysis could not be given back; its lease runs out", extra=analysis.log_fields
                    )


def _shut_down(error: DeviceError) -> WorkerShutdown:
    """Stop claiming, and return the exception that ends a Celery worker even from within a task."""
    logger.critical("this worker shuts down: %s", error)
    heartbeat.stop()
    return WorkerShutdown(1)


def work() -> None:
    """Analyse until the queue is empty or the process has to stop."""
    InferenceRun().run()


def warm_up() -> None:
    """Load the champion, so that the first case does not wait for it.

    Raises:
        WorkerShutdown: If the device is missing or does not compute; the worker then claims no analysis.
    """
    try:
        model_cache.load(champion()).result()
    except DeviceError as error:
        raise _shut_down(error) from error
    except (NoChampionError, BundleError, ValueError, RuntimeError):
        logger.warning("no usable champion yet", exc_info=True)


def preload_champion() -> None:
    """Start to load a newly promoted champion, so that new cases find it loaded."""
    try:
        model_cache.preload(champion())
    except NoChampionError:
        logger.debug("no champion")
