"""Try an uploaded bundle before it is used."""

from __future__ import annotations

import shutil
import time

import numpy as np

from classifier.bundle import Bundle, BundleError, unpack
from classifier.networks import NETWORKS
from classifier.predictor import Predictor
from trainer.synthetic.dataset import SIZE, sample
from trainer.utils.progress import ProgressBar, Stage
from trainer.worker.failures import is_out_of_memory
from trainer.worker.protocol import BundleOrder, BundleResult

_MAX_PATCHES = 2000  # of the known image; the default grid has 15
_LARGEST_PATCH = 1024  # pixels
_SEED = 1


def try_bundle(order: BundleOrder) -> BundleResult:
    """Unpack a bundle, load its weights (never by unpickling), and predict a known image.

    Raises:
        BundleError: If the bundle is refused; its folder is then removed.
    """
    started = time.monotonic()
    if not order.folder.exists():  # otherwise an earlier child unpacked it completely
        unpack(order.archive, order.folder, max_bytes=order.max_bytes)
    try:
        bundle = Bundle.load(order.folder)
        for _ in ProgressBar([None], stage=Stage.TRYING, disable=True):
            probability = _try(bundle)
    except BundleError:
        shutil.rmtree(order.folder, ignore_errors=True)
        raise
    return BundleResult(
        sha256=bundle.sha256,
        name=bundle.metadata.name,
        network=bundle.metadata.network,
        probability=probability,
        seconds=round(time.monotonic() - started, 1),
    )


def _try(bundle: Bundle) -> float:
    """Return the model's probability that the known image, a synthetic carcinoma, is malignant."""
    grid, network = bundle.metadata.grid, bundle.metadata.network
    if network not in NETWORKS:
        raise BundleError(f"The bundle's network is unknown: {network}.")
    width, height = (max(side, grid.size) for side in SIZE)
    if grid.size > _LARGEST_PATCH or (width // grid.stride + 1) * (height // grid.stride + 1) > _MAX_PATCHES:
        raise BundleError(
            f"The model cuts patches of {grid.size} pixels, {grid.stride} apart: too large or too many for an image."
        )
    pixels = np.array(sample("malignant", _SEED, (width, height)))
    try:
        predictor = Predictor(bundle, device="cpu", precision="float32")
    except BundleError as error:  # its message lists every tensor; the log contains it
        raise BundleError(f"The bundle's weights do not fit the network {network}.") from error
    try:
        return predictor.predict([pixels])[0].malignant_probability
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise BundleError(f"The model does not work on a known image: {error}") from error
