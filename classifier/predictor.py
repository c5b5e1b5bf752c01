"""From images to verdicts: all patches of many images in one batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from classifier import engine, votes
from classifier.bundle import Bundle
from classifier.cores import Cores
from classifier.fused import fused
from classifier.grid import Box
from classifier.patches import cut, mirrored

logger = logging.getLogger(__name__)

DEFAULT_BATCH = {"cpu": 64, "cuda": 1024}
"""Patches in memory at once at the most: those of one forward pass on a GPU, of all cores together on a CPU."""


class Predictor:
    """A bundle's network, loaded once and kept.

    Attributes:
        bundle: What was loaded.
        engine: Device and precision in use.
        batch_size: Patches in memory at once at the most.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str = "auto",
        precision: engine.Precision = "auto",
        batch_size: int | None = None,
    ) -> None:
        """Load the network.

        Args:
            bundle: Checked by `Bundle.load`.
            device: `auto`: a GPU where there is one.
            precision: `auto`: the fastest, measured now.
            batch_size: Patches in memory at once at the most; chosen by the device when None. It becomes smaller by
                itself where the device's memory is too small for it.

        Raises:
            BundleError: If the weights do not fit.
            ValueError: If the device is not there.
        """
        side = bundle.metadata.grid.size
        module = fused(bundle.module(), side)
        self.bundle = bundle
        self.engine = engine.choose(module, device=device, precision=precision, patch=side)
        self._module = self.engine.prepare(module)
        self.batch_size = batch_size or DEFAULT_BATCH.get(self.engine.device.type, 64)
        self._cores = Cores() if self.engine.device.type == "cpu" else None

    def predict(
        self,
        images: Sequence[NDArray[np.uint8]],
        progress: Callable[[float], None] | None = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> list[votes.Prediction]:
        """Let the patches of images vote.

        Args:
            images: RGB, uint8, each of shape (height, width, 3); sizes may differ.
            progress: Told after each forward pass which share of the work is done, 0..1; may raise to stop.
            meanwhile: Called once, while the CPU's cores compute, or just before a GPU does.

        Returns:
            One prediction for each image, in order.

        Raises:
            ValueError: If an image has no room for a patch, or the network gives no number.
        """
        metadata = self.bundle.metadata
        return [
            votes.count(places, logits, threshold=metadata.threshold, temperature=metadata.temperature)
            for places, logits in self.logits(images, progress, meanwhile)
        ]

    def logits(
        self,
        images: Sequence[NDArray[np.uint8]],
        progress: Callable[[float], None] | None = None,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> list[tuple[list[Box], list[float]]]:
        """What the votes are counted of: each image's patches, and for each patch malignant minus benign logit.

        Args:
            images: As `predict` takes them.
            progress: As `predict` tells it.
            meanwhile: As `predict` calls it.

        Raises:
            ValueError: If an image has no room for a patch.
        """
        if not images:
            return []
        grid = self.bundle.metadata.grid
        boxes = [grid.boxes(width=image.shape[1], height=image.shape[0]) for image in images]
        parts = torch.split(self._logits(images, boxes, progress, meanwhile), [len(places) for places in boxes])
        return [(places, part.tolist()) for places, part in zip(boxes, parts, strict=True)]

    def _logits(
        self,
        images: Sequence[NDArray[np.uint8]],
        boxes: Sequence[Sequence[Box]],
        progress: Callable[[float], None] | None,
        meanwhile: Callable[[], object],
    ) -> Tensor:
        """For all patches in order, malignant minus benign logit: float32, on the CPU."""
        tensors = [torch.from_numpy(image).to(self.engine.device) for image in images]
        places = [(number, box) for number, image_boxes in enumerate(boxes) for box in image_boxes]

        def compute(patches: range) -> Tensor:
            return self._differences(tensors, places[patches.start : patches.stop])

        parts = []
        done = 0
        computed = (self._cores.each if self._cores else self._in_turn)(compute, len(places), self.batch_size)
        meanwhile()
        for part in computed:
            parts.append(part)
            done += len(part)
            if progress:
                progress(done / len(places))
        return torch.cat(parts).cpu()

    def _in_turn(self, compute: Callable[[range], Tensor], patches: int, at_once: int) -> Iterator[Tensor]:
        """Patches overlap and take several times their image's memory: only those of one batch exist at a time."""
        done = 0
        while done < patches:
            batch = range(done, min(done + at_once, patches))
            try:
                yield compute(batch)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                self.batch_size = at_once = len(batch) // 2
                logger.warning("the device's memory is too small, batches of %d patches from now on", self.batch_size)
                torch.cuda.empty_cache()
                continue
            done += len(batch)

    @torch.inference_mode()
    def _differences(self, tensors: Sequence[Tensor], batch: Sequence[tuple[int, Box]]) -> Tensor:
        groups = groupby(batch, key=itemgetter(0))
        patches = torch.cat([cut(tensors[number], [box for _, box in group]) for number, group in groups])
        inputs = self.bundle.metadata.normalisation.apply(patches, self.engine.dtype)
        variants = mirrored(inputs) if self.bundle.metadata.test_time_flips else [inputs]
        logits = torch.stack([self._forward(variant) for variant in variants]).mean(dim=0)
        return logits[:, 1] - logits[:, 0]

    def _forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self._module(inputs.contiguous(memory_format=torch.channels_last))
        return logits.float()
