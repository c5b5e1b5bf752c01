"""What an inference worker does: claim what is due, one forward pass for all of it, store, and again.

Runs in a Celery worker of pool `solo`: one process for a GPU or the CPU, one thread that alone speaks to the database
and that has patches computed. While they are, it stores what was computed before and claims the next part, whose images
other threads decode; they load the next network and make previews, too.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.utils.translation import gettext_noop

from classifier.bundle import BundleError
from classifier.decode import DecodeError
from patchvote.cases import pixels, predictors, previews, services
from patchvote.cases.models import Analysis, Image
from patchvote.cases.watchdog import Watchdog
from patchvote.jobs import heartbeat, ledger, stats
from patchvote.jobs.models import workers_alive
from patchvote.registry.services import NoChampionError, champion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from classifier.predictor import Predictor

logger = logging.getLogger(__name__)

FILE_GONE = gettext_noop("The image's file cannot be read on the server. Send the image again.")
MODEL_UNUSABLE = gettext_noop("The model cannot be loaded. Analyse again with another one, or tell an administrator.")
FORWARD_FAILED = gettext_noop("The model could not read this image. Tell an administrator; the log has the reason.")

MAX_PIXELS_AT_ONCE = 100_000_000
"""Of images that lie decoded in memory for one part; a single larger one is taken alone."""

SECONDS_TO_FINISH = 5
"""Of a worker that was told to stop: what takes longer is given back."""

PROGRESS_SECONDS = 2
"""Between two reports of how far a part has come."""

_USUAL_PATCHES = 15
_DECODERS = min(4, os.cpu_count() or 1)


class Stopped(Exception):  # noqa: N818 (no error)
    """Nobody waits for the part any more, or the worker has to stop before it is done."""


@dataclass
class Part:
    """Analyses by one model version that are computed together.

    Attributes:
        analyses: As claimed.
        predictor: Their network, perhaps still being loaded.
        decoded: Their pixels, perhaps still being decoded.
    """

    analyses: list[Analysis]
    predictor: Future[Predictor] = field(default_factory=Future)
    decoded: list[Future[NDArray[np.uint8]]] = field(default_factory=list)

    @property
    def tried(self) -> bool:
        """True if an earlier attempt did not end: it is alone, for it may be what kills workers."""
        return self.analyses[0].attempts > 1


@dataclass(frozen=True)
class Computed:
    """What is still to be stored.

    Attributes:
        analysis: As claimed.
        result: What the ledger shall keep.
        decoded: The pixels, for the previews.
    """

    analysis: Analysis
    result: dict[str, Any]
    decoded: NDArray[np.uint8]


class InferenceRun:
    """One run of an inference worker: until nothing is due, or the process was told to stop."""

    patches_an_image: float = _USUAL_PATCHES
    """Of the images that came last; shared by all runs of the process."""

    batch_size: int | None = None
    """Of the network that was used last, in patches."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self.held: list[Analysis] = []
        self._pool = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decode")
        self._parts: deque[Part] = deque()
        self._computed: list[Computed] = []
        self._watchdog = Watchdog(settings.INFERENCE_STALL)

    def run(self) -> None:
        """Work."""
        with ledger.renewing(self.held, self._watchdog.check):
            try:
                while self._prepare():
                    part = self._parts.popleft()
                    if part.tried:
                        self._store()
                    self._analyse(part)
                    if not self._parts:
                        self._store()
                    self._let_go(part.analyses)
                self._store()
                self._pool.shutdown(cancel_futures=heartbeat.stopping())
            finally:
                self._give_back()
                self._pool.shutdown(wait=False, cancel_futures=True)

    def _meanwhile(self, part: Part) -> None:
        """Store what came before a part, claim and decode what comes after it; what fails now, is done after the part.

        No error leaves: it would pass for one of the part's forward pass, which goes on meanwhile.
        """
        try:
            self._store()
            self._prepare(beside=part)
        except Exception:
            logger.exception("nothing could be stored or claimed while a part is computed")

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
            self._parts.extend(_parts(claimed))
        if not self._parts:
            return False
        part = self._parts[0]
        if not part.decoded:
            part.predictor = predictors.load(part.analyses[0].model_version)
            part.decoded = [self._pool.submit(_decode, analysis.image) for analysis in part.analyses]
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
        try:
            predictor = part.predictor.result()
        except (BundleError, ValueError, RuntimeError):  # unsound, no such device, out of memory
            logger.exception(
                "model version cannot be loaded", extra={"model_version": str(part.analyses[0].model_version_id)}
            )
            for analysis in part.analyses:
                ledger.fail(analysis, "model_unusable", MODEL_UNUSABLE)
            return
        InferenceRun.batch_size = predictor.batch_size
        self._watchdog.pat()
        readable: list[tuple[Analysis, NDArray[np.uint8]]] = []
        still_held = ledger.held(part.analyses)
        for analysis, decoded in zip(part.analyses, part.decoded, strict=True):
            try:
                if analysis in still_held:
                    readable.append((analysis, decoded.result()))
            except (FileNotFoundError, DecodeError):  # another error may pass: the lease brings a retry
                logger.exception("image cannot be read", extra=analysis.log_fields)
                ledger.fail(analysis, "file_gone", FILE_GONE)
        self._watchdog.pat()
        try:
            self._predict(predictor, readable, meanwhile=lambda: self._meanwhile(part))
        except Stopped:
            for analysis, _decoded in readable:
                ledger.give_back(analysis, untried=True)

    def _predict(
        self,
        predictor: Predictor,
        readable: Sequence[tuple[Analysis, NDArray[np.uint8]]],
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        if not readable:
            return
        try:
            with stats.stage("forward"):
                pictures = [decoded for _, decoded in readable]
                predictions = predictor.predict(pictures, self._progress(readable), meanwhile)
        except (ValueError, RuntimeError):
            if len(readable) == 1:
                logger.exception("forward pass failed", extra=readable[0][0].log_fields)
                ledger.fail(readable[0][0], "inference_failed", FORWARD_FAILED)
                return
            logger.exception("forward pass failed, trying one by one", extra={"images": len(readable)})
            for one in readable:
                self._predict(predictor, [one])
            return
        InferenceRun.patches_an_image = sum(len(prediction.votes) for prediction in predictions) / len(predictions)
        stats.observe_batch(len(readable))
        logger.info("batch done", extra={"images": len(readable), "model": predictor.bundle.metadata.name})
        self._computed += [
            Computed(analysis, {"engine": str(predictor.engine), **prediction.as_dict()}, decoded)
            for (analysis, decoded), prediction in zip(readable, predictions, strict=True)
        ]

    def _store(self) -> None:
        """Store what is computed, in one transaction."""
        if not self._computed:
            return
        with stats.stage("store"):
            ledger.succeed((one.analysis, one.result) for one in self._computed)
        stored, self._computed = self._computed, []
        self._let_go([one.analysis for one in stored])
        for one in stored:
            self._pool.submit(previews.make, one.analysis.image, one.decoded)

    def _let_go(self, analyses: Sequence[Analysis]) -> None:
        """Renew leases no more, but of what is still to be stored."""
        kept = [one.analysis for one in self._computed]
        self.held[:] = [one for one in self.held if one in kept or one not in analyses]

    def _progress(self, readable: Sequence[tuple[Analysis, NDArray[np.uint8]]]) -> Callable[[float], None]:
        analyses = [analysis for analysis, _decoded in readable]
        reported = time.monotonic()
        stopping_since: float | None = None

        def told(share: float) -> None:
            nonlocal reported, stopping_since
            now = time.monotonic()
            self._watchdog.pat()
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

    def _give_back(self) -> None:
        """What still waits here was not begun; if an error ended the run, the lease of what was begun runs out."""
        try:
            self._store()
        except DatabaseFailure:
            logger.exception("results cannot be stored, their leases will run out")
        for part in self._parts:
            for analysis in part.analyses:
                try:
                    ledger.give_back(analysis, untried=True)
                except DatabaseFailure:
                    logger.exception("it cannot be given back, its lease will run out", extra=analysis.log_fields)


def work() -> None:
    """Analyse until nothing is due, or the process was told to stop."""
    InferenceRun().run()


def warm_up() -> None:
    """Load the champion, so that the first case does not wait for it."""
    try:
        predictors.load(champion()).result()
    except (NoChampionError, BundleError, ValueError, RuntimeError):
        logger.warning("no usable champion yet", exc_info=True)


def look_ahead() -> None:
    """Begin to load the champion if another one serves now: cases that come find it loaded."""
    try:
        predictors.expect(champion())
    except NoChampionError:
        logger.debug("no champion")


def _decode(image: Image) -> NDArray[np.uint8]:
    with stats.stage("decode"):
        return pixels.take(image)


def _parts(analyses: Sequence[Analysis]) -> Iterator[Part]:
    """Analyses of one model version whose images fit into memory together."""
    ordered = sorted(analyses, key=lambda analysis: str(analysis.model_version_id))  # stable: oldest first
    for _version, group in groupby(ordered, key=lambda analysis: analysis.model_version_id):
        part: list[Analysis] = []
        size = 0
        for analysis in group:
            more = analysis.image.width * analysis.image.height
            if part and size + more > MAX_PIXELS_AT_ONCE:
                yield Part(part)
                part, size = [], 0
            part.append(analysis)
            size += more
        yield Part(part)
