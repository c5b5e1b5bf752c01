"""What an inference worker does: claim what is due, one forward pass for all of it, store, and again.

Runs in a Celery worker of pool `solo`: one process for a GPU or the CPU, one thread that computes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext_noop

from classifier.bundle import BundleError
from classifier.decode import DecodeError, decode
from patchvote.cases.models import Analysis
from patchvote.cases.services import STORED
from patchvote.jobs import heartbeat, ledger, stats
from patchvote.registry.models import ModelVersion
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
"""Of images that lie decoded in memory at the same time; a single larger one is taken alone."""

_KEPT_PREDICTORS = 2
_predictors: dict[str, Predictor] = {}


def work() -> None:
    """Analyse until nothing is due, or the process was told to stop."""
    while not heartbeat.stopping():
        analyses = ledger.claim(Analysis, heartbeat.NAME, settings.INFERENCE_BATCH)
        if not analyses:
            return
        with ledger.renewing(analyses):
            analyse(analyses)


def warm_up() -> None:
    """Load the champion, so that the first case does not wait for it."""
    try:
        predictor_for(champion())
    except (NoChampionError, BundleError, ValueError, RuntimeError):
        logger.warning("no usable champion yet", exc_info=True)


def analyse(analyses: Sequence[Analysis]) -> None:
    """Analyse claimed analyses, those of one model version in one batch."""
    by_version: dict[UUID, list[Analysis]] = {}
    for analysis in analyses:
        by_version.setdefault(analysis.model_version_id, []).append(analysis)
    for version_id, group in by_version.items():
        try:
            predictor = predictor_for(ModelVersion.objects.get(pk=version_id))
        except (BundleError, ValueError, RuntimeError):  # unsound, no such device, out of memory
            logger.exception("model version cannot be loaded", extra={"model_version": str(version_id)})
            for analysis in group:
                ledger.fail(analysis, "model_unusable", MODEL_UNUSABLE)
            continue
        for batch in _batches(group):
            _analyse_with(predictor, ledger.held(batch))


def predictor_for(version: ModelVersion) -> Predictor:
    """The version's network, loaded once and kept; the least recently used one makes room.

    Raises:
        BundleError: If the bundle is gone, changed or does not fit.
    """
    from classifier.predictor import Predictor

    predictor = _predictors.pop(version.sha256, None)
    if predictor is None:
        predictor = Predictor(version.bundle(), device=settings.INFERENCE_DEVICE)
        logger.info("loaded %s", version, extra={"model_version": str(version.pk), "engine": str(predictor.engine)})
        heartbeat.set_engine(str(predictor.engine))
    _predictors[version.sha256] = predictor
    while len(_predictors) > _KEPT_PREDICTORS:
        del _predictors[next(iter(_predictors))]
    return predictor


def _batches(analyses: Sequence[Analysis]) -> Iterator[list[Analysis]]:
    """Parts whose images fit into memory together; images of ordinary size stay in one."""
    batch: list[Analysis] = []
    pixels = 0
    for analysis in analyses:
        size = analysis.image.width * analysis.image.height
        if batch and pixels + size > MAX_PIXELS_AT_ONCE:
            yield batch
            batch, pixels = [], 0
        batch.append(analysis)
        pixels += size
    yield batch


def _analyse_with(predictor: Predictor, analyses: Sequence[Analysis]) -> None:
    readable: list[tuple[Analysis, NDArray[np.uint8]]] = []
    for analysis in analyses:
        try:
            with stats.stage("decode"), analysis.image.file.open("rb") as file:
                readable.append((analysis, decode(file, STORED).pixels))
        except (FileNotFoundError, DecodeError):  # another error of the file system may pass: the lease brings a retry
            logger.exception("image cannot be read", extra=analysis.log_fields)
            ledger.fail(analysis, "file_gone", FILE_GONE)
    if not readable:
        return
    try:
        with stats.stage("forward"):
            predictions = predictor.predict([pixels for _, pixels in readable])
    except (ValueError, RuntimeError):
        if len(readable) == 1:
            logger.exception("forward pass failed", extra=readable[0][0].log_fields)
            ledger.fail(readable[0][0], "inference_failed", FORWARD_FAILED)
            return
        logger.exception("forward pass failed, trying one by one", extra={"images": len(readable)})
        for analysis, _pixels in readable:
            _analyse_with(predictor, [analysis])
        return
    stats.observe_batch(len(readable))
    engine = str(predictor.engine)
    with stats.stage("store"):
        ledger.succeed(
            (analysis, {"engine": engine, **prediction.as_dict()})
            for (analysis, _pixels), prediction in zip(readable, predictions, strict=True)
        )
    logger.info("batch done", extra={"images": len(readable), "model": predictor.bundle.metadata.name})
