"""The networks that a worker has at hand, loaded once each and kept.

They are loaded in a thread of their own, so that a worker computes with one while the next champion is being loaded.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from django.conf import settings

from patchvote.jobs import heartbeat
from patchvote.registry.models import ModelVersion

if TYPE_CHECKING:
    from classifier.predictor import Predictor

logger = logging.getLogger(__name__)

_KEPT = 2
_lock = threading.Lock()
_loader = ThreadPoolExecutor(1, thread_name_prefix="load-model")
_loaded: dict[str, Future[Predictor]] = {}
"""By the bundle's SHA-256, the one used last at the end."""
_expected = ""


def load(version: ModelVersion) -> Future[Predictor]:
    """Begin to load a version's network unless it is there; the least recently used one makes room.

    Returns:
        The network, some day; or a BundleError if the bundle is gone, changed or does not fit, a DeviceError if the
        device is not there or does not compute, a RuntimeError if it has too little memory.
    """
    with _lock:
        loading = _loaded.pop(version.sha256, None)
        if loading is None or (loading.done() and loading.exception()):  # what failed once is tried again
            loading = _loader.submit(_load, version)
        _loaded[version.sha256] = loading
        while len(_loaded) > _KEPT:
            del _loaded[next(iter(_loaded))]
    return loading


def expect(version: ModelVersion) -> None:
    """Load the version that will be asked for next, once: what fails is logged, and tried again when it is needed."""
    global _expected  # noqa: PLW0603 (one process, one champion)
    if version.sha256 != _expected:
        _expected = version.sha256
        load(version).add_done_callback(_log_failure)


def _log_failure(loading: Future[Predictor]) -> None:
    if failure := loading.exception():
        logger.error("the next model version cannot be loaded", exc_info=failure)


def _load(version: ModelVersion) -> Predictor:
    from classifier.predictor import Predictor

    precision: Any = settings.INFERENCE_PRECISION
    predictor = Predictor(version.bundle(), device=settings.INFERENCE_DEVICE, precision=precision)
    logger.info("loaded %s", version, extra={"model_version": str(version.pk), "engine": str(predictor.engine)})
    heartbeat.set_engine(str(predictor.engine))
    return predictor
