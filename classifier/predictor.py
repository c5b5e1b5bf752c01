"""From images to predictions: the patches of many images share batches."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import cache
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from classifier import votes
from classifier.bundle import Bundle, BundleMetadata
from classifier.engine import devices
from classifier.engine.cores import Cores, Results
from classifier.engine.fusion import fuse
from classifier.engine.gpu import Gpu
from classifier.grid import Box
from classifier.imaging.patches import mirrored, normalised_patches

logger = logging.getLogger(__name__)

DEFAULT_BATCH = {"cpu": 64, "cuda": 1024}
"""The maximum number of patches in memory: of one forward pass on a GPU, of all cores together on a CPU."""


class Pass:
    """A forward pass over the patches of some images; it runs while the caller does something else."""

    def __init__(
        self,
        metadata: BundleMetadata,
        boxes: Sequence[list[Box]],
        computed: Results | Generator[Tensor],
        recompute: Callable[[int], list[float]] | None = None,
    ) -> None:
        """Store a pass that has been started.

        Args:
            metadata: The model's metadata, which says how votes are counted.
            boxes: The places of each image's patches.
            computed: Malignant minus benign logits, in chunks and in the order of the patches.
            recompute: Computes the logits of one image again in float32, if they overflowed; None for a float32 pass.
        """
        self._metadata, self._boxes, self._computed, self._recompute = metadata, boxes, computed, recompute

    def predictions(self, progress: Callable[[float], None] | None = None) -> list[votes.Prediction]:
        """Wait for all images, and count the votes of each image as soon as its patches are computed.

        Args:
            progress: Called repeatedly with the share of the work that is done, 0..1. It may raise an exception to
                stop the pass; patches that are not started yet are then dropped.

        Raises:
            ValueError: If a logit is not finite.
        """
        threshold, temperature = self._metadata.threshold, self._metadata.temperature
        return [
            votes.count(boxes, logits, threshold=threshold, temperature=temperature)
            for boxes, logits in self.logits(progress)
        ]

    def logits(self, progress: Callable[[float], None] | None = None) -> Iterator[tuple[list[Box], list[float]]]:
        """Yield the places of each image's patches, and for each patch the malignant minus the benign logit."""
        waiting = deque(enumerate(self._boxes))
        patches = sum(map(len, self._boxes))
        done, ready = 0, list[float]()
        with closing(self._computed):
            for chunk in self._computed:
                ready += chunk.tolist()
                done += len(chunk)
                if progress:
                    progress(done / patches)
                while waiting and len(ready) >= len(waiting[0][1]):
                    number, boxes = waiting.popleft()
                    logits = ready[: len(boxes)]
                    del ready[: len(boxes)]
                    if self._recompute and not all(map(math.isfinite, logits)):
                        logits = self._recompute(number)
                    yield boxes, logits

    def drop(self) -> None:
        """Drop the patches that are not started yet."""
        self._computed.close()


class Predictor:
    """The network of a bundle, loaded and ready to read images.

    Attributes:
        bundle: The bundle that was loaded.
        engine: The device and number format in use.
        batch_size: The maximum number of patches in memory; after a GPU has run out of memory, batches are smaller.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str = "auto",
        precision: devices.Precision = "auto",
        batch_size: int | None = None,
    ) -> None:
        """Load the network.

        Args:
            bundle: A bundle from `Bundle.load`.
            device: `auto` (a GPU if there is one), or a device in PyTorch's notation.
            precision: `auto` to measure and choose the most exact format that no other one beats clearly, or a format.
            batch_size: The maximum number of patches in memory; None for the default of the device.

        Raises:
            BundleError: If the weights do not fit the network.
            DeviceError: If the device does not exist, or does not compute.
        """
        found = devices.find(device)
        side = bundle.metadata.grid.size
        module = fuse(bundle.module(), side)
        self.bundle = bundle
        try:
            self.engine = devices.choose(module, found, precision=precision, patch=side)
            self._module = self.engine.prepare(module)
        except RuntimeError:
            devices.check(found)  # raises DeviceError if the device is to blame
            raise
        self.batch_size = batch_size or DEFAULT_BATCH.get(found.type, 64)
        self._processor = Cores() if found.type == "cpu" else Gpu(found)
        self._exact: Predictor | None = None

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[votes.Prediction]:
        """Predict images by the votes of their patches.

        Args:
            images: RGB images, uint8, each of shape (height, width, 3); sizes may differ.

        Returns:
            One prediction per image, in order.

        Raises:
            ValueError: If an image is smaller than a patch, or a logit is not finite.
        """
        return self.start(images).predictions()

    def start(self, images: Sequence[NDArray[np.uint8]]) -> Pass:
        """Start a pass over the patches of images; it runs after the passes that were started before.

        Args:
            images: See `predict`.

        Raises:
            ValueError: If an image is smaller than a patch.
        """
        grid = self.bundle.metadata.grid
        boxes = [grid.boxes(width=image.shape[1], height=image.shape[0]) for image in images]
        patches = [(number, box) for number, places in enumerate(boxes) for box in places]
        recompute = None if self.engine.dtype == torch.float32 else lambda number: self._in_float32(images[number])
        return Pass(self.bundle.metadata, boxes, self._start(images, patches), recompute)

    def _in_float32(self, image: NDArray[np.uint8]) -> list[float]:
        """Return the logits of an image that overflowed in this predictor's number format."""
        if self._exact is None:
            logger.warning("activations overflow in %s: such images are read again in float32", self.engine)
            self._exact = Predictor(self.bundle, device=str(self.engine.device), precision="float32")
        [(_boxes, logits)] = self._exact.start([image]).logits()
        return logits

    def _start(
        self, images: Sequence[NDArray[np.uint8]], patches: Sequence[tuple[int, Box]]
    ) -> Results | Generator[Tensor]:
        """Start computing the malignant minus the benign logits, in the order of the patches, as float32 on the CPU."""

        @cache
        def image(number: int) -> Tensor:
            return self._processor.send(images[number])

        def compute(numbers: range) -> Tensor:
            return self._differences(patches[numbers.start : numbers.stop], image)

        return self._processor.map(compute, len(patches), self.batch_size)

    @torch.inference_mode()
    def _differences(self, patches: Sequence[tuple[int, Box]], image: Callable[[int], Tensor]) -> Tensor:
        inputs = self._cut(patches, image)
        variants = mirrored(inputs) if self.bundle.metadata.test_time_flips else [inputs]
        logits = torch.stack([self._forward(variant) for variant in variants]).mean(dim=0)
        return logits[:, 1] - logits[:, 0]

    def _forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self._module(inputs.contiguous(memory_format=torch.channels_last))
        return logits.float()

    def _cut(self, patches: Sequence[tuple[int, Box]], image: Callable[[int], Tensor]) -> Tensor:
        """Return normalised patches, in order; neighbouring images with the same places are cut together."""
        groups = groupby(patches, key=itemgetter(0))
        pieces = [(image(number), [box for _, box in group]) for number, group in groups]
        parts = []
        for (_shape, boxes), group in groupby(pieces, key=lambda piece: (piece[0].shape, piece[1])):
            first, *others = [pixels for pixels, _boxes in group]
            pixels = torch.stack([first, *others]) if others else first.unsqueeze(0)  # no copy of one large image
            parts.append(normalised_patches(pixels, boxes, self._normalise))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _normalise(self, pixels: Tensor) -> Tensor:
        return self.bundle.metadata.normalisation.apply(pixels, self.engine.dtype)
