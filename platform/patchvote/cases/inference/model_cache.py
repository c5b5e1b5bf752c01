"""A cache of loaded networks, in the inference worker's process.

A separate thread loads them, so that the worker computes with one network while the next champion is loaded.
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
"""The cached networks by the SHA-256 of their bundles; the most recently used one is last."""
_preloaded = ""


def load(version: ModelVersion) -> Future[Predictor]:
    """Start to load a version's network unless it is cached; the least recently used network is dropped.

    Returns:
        A future of the network. Its exception is a BundleError if the bundle is missing, changed or incompatible, a
        DeviceError if the device is missing or does not compute, or a RuntimeError if there is too little memory.
    """
    with _lock:
        loading = _loaded.pop(version.sha256, None)
        if loading is None or (loading.done() and loading.exception()):  # retry after a failure
            loading = _loader.submit(_load, version)
        _loaded[version.sha256] = loading
        while len(_loaded) > _KEPT:
            del _loaded[next(iter(_loaded))]
    return loading


def preload(version: ModelVersion) -> None:
    """Load the version that will be needed next, once. A failure is logged; the next `load` tries again."""
    global _preloaded  # noqa: PLW0603 (one process, one champion)
    if version.sha256 != _preloaded:
        _preloaded = version.sha256
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
