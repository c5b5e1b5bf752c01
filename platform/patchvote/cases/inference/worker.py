"""What an inference worker does: claim what is due, one forward pass for all of it, store, and again.

Runs in a Celery worker of pool `solo`: one process for a GPU or the CPU, one thread that alone speaks to the database
and that has patches computed. While they are, it claims the next part, whose images other threads decode, and has it
computed, too: cores or GPU go on with it while the results of the first are stored. Other threads load the next network
and make previews.
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
from classifier.engine import DeviceError, check
from patchvote.cases import services, thumbnails
from patchvote.cases.inference import model_cache
from patchvote.cases.inference.batches import DECODERS, Part, parts, readable
from patchvote.cases.inference.watchdog import Watchdog
from patchvote.cases.models import Analysis
from patchvote.jobs import heartbeat, ledger, stats
from patchvote.jobs.models import workers_alive
from patchvote.registry.services import NoChampionError, champion

logger = logging.getLogger(__name__)

MODEL_UNUSABLE = gettext_noop("The model cannot be loaded. Analyse again with another one, or tell an administrator.")
FORWARD_FAILED = gettext_noop("The model could not read this image. Tell an administrator; the log has the reason.")

SECONDS_TO_FINISH = 5
"""Of a worker that was told to stop: what takes longer is given back."""

PROGRESS_SECONDS = 2
"""Between two reports of how far a part has come."""

_USUAL_PATCHES = 15


class Stopped(Exception):  # noqa: N818 (no error)
    """Nobody waits for the part any more, or the worker has to stop before it is done."""


class ModelUnusable(Exception):  # noqa: N818 (as Stopped)
    """The network of a part cannot be loaded."""


class ForwardFailed(Exception):  # noqa: N818
    """The network could not read the images of a part."""


class InferenceRun:
    """One run of an inference worker: until nothing is due, or the process was told to stop."""

    patches_an_image: float = _USUAL_PATCHES
    """Of the images that came last; shared by all runs of the process."""

    batch_size: int | None = None
    """Of the network that was used last, in patches."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.held: list[Analysis] = []
        self._pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        self._parts: deque[Part] = deque()
        self._watchdog = Watchdog(settings.INFERENCE_STALL)

    def run(self) -> None:
        """Work.

        Raises:
            WorkerShutdown: If the device does not compute any more: only another process may use it again.
        """
        with ledger.renewing(self.held, self._watchdog.check):
            try:
                while self._prepare():
                    part = self._parts.popleft()
                    self._analyse(part)
                    self.held[:] = [analysis for analysis in self.held if analysis not in part.analyses]
                self._pool.shutdown(cancel_futures=heartbeat.stopping())
            except DeviceError as error:
                self._expire_leases()
                raise _ending(error) from error
            finally:
                self._give_back()
                self._pool.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, beside: Part | None = None) -> bool:
        """Have the next part's pixels and network on their way; claim more where no part waits.

        Args:
            beside: The part that is being computed: one that may kill workers takes no others along.

        Returns:
            Whether there is a next part.
        """
        if heartbeat.stopping() or (beside and beside.tried):
            return False
        if not self._parts:
            claimed = ledger.claim(Analysis, heartbeat.NAME, self._how_many(), untried=beside is not None)
            self.held.extend(claimed)
            self._parts.extend(parts(claimed))
        if not self._parts:
            return False
        self._parts[0].prepare(self._pool)
        return True

    def _how_many(self) -> int:
        """Images that fill one forward pass, and no more than this worker's share of what waits."""
        fitting = max(1, round((self.batch_size or 1) / self.patches_an_image))
        most = max(1, min(settings.INFERENCE_BATCH, fitting))
        workers = workers_alive()["inference"] if most > 1 else 1
        if workers > 1:
            most = min(most, math.ceil(ledger.due(Analysis)[: most * workers].count() / workers))
        return max(1, most)

    def _analyse(self, part: Part) -> None:
        """From a part to its results, the next one on its way meanwhile.

        Raises:
            DeviceError: If the device does not compute.
        """
        try:
            self._begin(part)
            self._ahead(part, lambda: self._prepare(beside=part))
            self._finish(part)
        except ModelUnusable:
            logger.exception(
                "model version cannot be loaded", extra={"model_version": str(part.analyses[0].model_version_id)}
            )
            for analysis in part.analyses:
                ledger.fail(analysis, "model_unusable", MODEL_UNUSABLE)
        except ForwardFailed as failure:
            check(part.predictor.result().engine.device)
            self._after_failure(part, failure)
        except Stopped:
            part.stop()
            for analysis in part.analyses:
                ledger.give_back(analysis, untried=True)

    def _begin(self, part: Part) -> None:
        """Have a part computed, after what was begun before it.

        Raises:
            ModelUnusable: If its network cannot be had.
            DeviceError: If what it would be computed on does not compute.
            ForwardFailed: If an image is none for the network.
            Stopped: If it was begun ahead and nobody waits for it any more.
        """
        if part.passing:
            if not ledger.held(part.analyses):  # begun ahead, and cancelled since
                raise Stopped
            return
        try:
            predictor = part.predictor.result()
        except (BundleError, ValueError, RuntimeError) as error:  # unsound, does not fit, out of memory
            raise ModelUnusable from error
        InferenceRun.batch_size = predictor.batch_size
        self._watchdog.pat()
        part.readable = list(readable(part))
        self._watchdog.pat()
        if part.readable:
            try:
                part.passing = predictor.begin([pixels for _analysis, pixels in part.readable])
            except (ValueError, RuntimeError) as error:
                raise ForwardFailed from error

    def _ahead(self, part: Part, action: Callable[[], object]) -> None:
        """Do something for what comes next while a part is computed; what fails now is done again afterwards.

        No error leaves: it would pass for one of the part that is computed.
        """
        try:
            action()
        except Exception:
            logger.exception("nothing could be done ahead", extra=part.analyses[0].log_fields)

    def _begin_next(self, part: Part) -> None:
        """Have the next part computed behind this one, once, as soon as there is nothing to wait for."""
        following = self._parts[0] if self._parts else None
        if following and following.may_follow(part) and not heartbeat.stopping():
            following.ahead = True
            self._ahead(following, lambda: self._begin(following))

    def _finish(self, part: Part) -> None:
        """Wait for a part and store its results.

        Raises:
            ForwardFailed: If the network gives no number.
            Stopped: See there.
        """
        if not part.passing:
            return
        try:
            with stats.stage("forward"):
                predictions = part.passing.predictions(self._progress(part))
        except (ValueError, RuntimeError) as error:
            raise ForwardFailed from error
        InferenceRun.patches_an_image = sum(len(prediction.votes) for prediction in predictions) / len(predictions)
        stats.observe_batch(len(predictions))
        predictor = part.predictor.result()
        engine = str(predictor.engine)
        with stats.stage("store"):
            ledger.succeed(
                (analysis, {"engine": engine, **prediction.as_dict()})
                for (analysis, _pixels), prediction in zip(part.readable, predictions, strict=True)
            )
        logger.info("batch done", extra={"images": len(predictions), "model": predictor.bundle.metadata.name})
        for analysis, decoded in part.readable:
            self._pool.submit(thumbnails.make, analysis.image, decoded)

    def _after_failure(self, part: Part, failure: ForwardFailed) -> None:
        """Of several images, one alone may be what the network cannot read."""
        if len(part.readable) == 1:
            logger.error("forward pass failed", exc_info=failure, extra=part.readable[0].analysis.log_fields)
            ledger.fail(part.readable[0].analysis, "inference_failed", FORWARD_FAILED)
            return
        logger.error("forward pass failed, trying one by one", exc_info=failure, extra={"images": len(part.readable)})
        for following in self._parts:
            following.stop()  # or each image would wait until all of that is computed
        for analysis, decoded in zip(part.analyses, part.decoded, strict=True):
            if heartbeat.stopping():
                ledger.give_back(analysis, untried=True)
            else:
                self._analyse(Part([analysis], part.predictor, [decoded]))

    def _progress(self, part: Part) -> Callable[[float], None]:
        analyses = [analysis for analysis, _pixels in part.readable]
        reported = time.monotonic()
        stopping_since: float | None = None

        def told(share: float) -> None:
            nonlocal reported, stopping_since
            now = time.monotonic()
            self._watchdog.pat()
            self._begin_next(part)
            if share == 1:
                return
            if heartbeat.stopping():
                stopping_since = stopping_since or now
                if now - stopping_since > SECONDS_TO_FINISH:
                    raise Stopped
            if now - reported > PROGRESS_SECONDS:
                reported = now
                if not services.progressed(analyses, share):
                    raise Stopped

        return told

    def _expire_leases(self) -> None:
        """What was its turn may be what breaks devices: its attempt counts, and the next one is made alone."""
        waiting = {analysis.pk for part in self._parts for analysis in part.analyses}
        for analysis in self.held:
            if analysis.pk not in waiting:
                try:
                    ledger.expire_lease(analysis)
                except DatabaseFailure:
                    logger.exception("its lease will run out by itself", extra=analysis.log_fields)

    def _give_back(self) -> None:
        """What still waits here has no result; if an error ended the run, the lease of what was its turn runs out."""
        for part in self._parts:
            part.stop()
            for analysis in part.analyses:
                try:
                    ledger.give_back(analysis, untried=True)
                except DatabaseFailure:
                    logger.exception("it cannot be given back, its lease will run out", extra=analysis.log_fields)


def _ending(error: DeviceError) -> WorkerShutdown:
    """What ends a worker of Celery's, from within a task as well; it claims nothing more until then."""
    logger.critical("this worker ends itself: %s", error)
    heartbeat.stop()
    return WorkerShutdown(1)


def work() -> None:
    """Analyse until nothing is due, or the process was told to stop."""
    InferenceRun().run()


def warm_up() -> None:
    """Load the champion, so that the first case does not wait for it.

    Raises:
        WorkerShutdown: If the device is not there or does not compute: no case is claimed then.
    """
    try:
        model_cache.load(champion()).result()
    except DeviceError as error:
        raise _ending(error) from error
    except (NoChampionError, BundleError, ValueError, RuntimeError):
        logger.warning("no usable champion yet", exc_info=True)


def look_ahead() -> None:
    """Begin to load the champion if another one serves now: cases that come find it loaded."""
    try:
        model_cache.expect(champion())
    except NoChampionError:
        logger.debug("no champion")
