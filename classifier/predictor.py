"""From images to verdicts: all patches of many images in one batch."""

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
"""Patches in memory at once at the most: those of one forward pass on a GPU, of all cores together on a CPU."""


class Pass:
    """The patches of some images on their way through a network, which goes on while its caller does something else."""

    def __init__(
        self,
        metadata: BundleMetadata,
        boxes: Sequence[list[Box]],
        computed: Results | Generator[Tensor],
        exactly: Callable[[int], list[float]] | None = None,
    ) -> None:
        """Keep what is being computed.

        Args:
            metadata: The model's: how votes are counted.
            boxes: Of each image.
            computed: Malignant minus benign logits, some patches at a time and in order.
            exactly: Computes those of one image again, where rounding may have been too much for them.
        """
        self._metadata, self._boxes, self._computed, self._exactly = metadata, boxes, computed, exactly

    def predictions(self, progress: Callable[[float], None] | None = None) -> list[votes.Prediction]:
        """Wait for all images, and count the votes of each as soon as it is computed.

        Args:
            progress: Told again and again which share of the work is done, 0..1; may raise to stop, and what was not
                begun is dropped then.

        Raises:
            ValueError: If the network gives no number.
        """
        threshold, temperature = self._metadata.threshold, self._metadata.temperature
        return [
            votes.count(boxes, logits, threshold=threshold, temperature=temperature)
            for boxes, logits in self.logits(progress)
        ]

    def logits(self, progress: Callable[[float], None] | None = None) -> Iterator[tuple[list[Box], list[float]]]:
        """What the votes are counted of: each image's patches, and for each malignant minus benign logit."""
        waiting = deque(enumerate(self._boxes))
        patches = sum(map(len, self._boxes))
        done, ready = 0, list[float]()
        with closing(self._computed):
            for part in self._computed:
                ready += part.tolist()
                done += len(part)
                if progress:
                    progress(done / patches)
                while waiting and len(ready) >= len(waiting[0][1]):
                    number, boxes = waiting.popleft()
                    logits = ready[: len(boxes)]
                    del ready[: len(boxes)]
                    if self._exactly and not all(map(math.isfinite, logits)):
                        logits = self._exactly(number)
                    yield boxes, logits

    def drop(self) -> None:
        """Have nothing of it computed that was not begun."""
        self._computed.close()


class Predictor:
    """A bundle's network, loaded once and kept.

    Attributes:
        bundle: What was loaded.
        engine: Device and precision in use.
        batch_size: Patches in memory at once at the most; the memory of a GPU may turn out to hold fewer.
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
            bundle: Checked by `Bundle.load`.
            device: `auto`: a GPU where there is one.
            precision: `auto`: the most exact one beside which none is clearly faster, measured now.
            batch_size: Patches in memory at once at the most; chosen by the device when None.

        Raises:
            BundleError: If the weights do not fit.
            DeviceError: If the device is not there, or does not compute.
        """
        found = devices.find(device)
        side = bundle.metadata.grid.size
        module = fuse(bundle.module(), side)
        self.bundle = bundle
        try:
            self.engine = devices.choose(module, found, precision=precision, patch=side)
            self._module = self.engine.prepare(module)
        except RuntimeError:
            devices.check(found)  # or it is the device's
            raise
        self.batch_size = batch_size or DEFAULT_BATCH.get(found.type, 64)
        self._processor = Cores() if found.type == "cpu" else Gpu(found)
        self._in_float32: Predictor | None = None

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[votes.Prediction]:
        """Let the patches of images vote.

        Args:
            images: RGB, uint8, each of shape (height, width, 3); sizes may differ.

        Returns:
            One prediction for each image, in order.

        Raises:
            ValueError: If an image has no room for a patch, or the network gives no number.
        """
        return self.begin(images).predictions()

    def begin(self, images: Sequence[NDArray[np.uint8]]) -> Pass:
        """Have the patches of images computed, after those of passes that were begun before.

        Args:
            images: As `predict` takes them.

        Raises:
            ValueError: If an image has no room for a patch.
        """
        grid = self.bundle.metadata.grid
        boxes = [grid.boxes(width=image.shape[1], height=image.shape[0]) for image in images]
        patches = [(number, box) for number, of_image in enumerate(boxes) for box in of_image]
        exactly = None if self.engine.dtype == torch.float32 else lambda number: self._exactly(images[number])
        return Pass(self.bundle.metadata, boxes, self._begin(images, patches), exactly)

    def _exactly(self, image: NDArray[np.uint8]) -> list[float]:
        """The logits of an image whose numbers are too large for this number format."""
        if self._in_float32 is None:
            logger.warning("the network's numbers are too large for %s, such images are read in float32", self.engine)
            self._in_float32 = Predictor(self.bundle, device=str(self.engine.device), precision="float32")
        [(_boxes, logits)] = self._in_float32.begin([image]).logits()
        return logits

    def _begin(
        self, images: Sequence[NDArray[np.uint8]], patches: Sequence[tuple[int, Box]]
    ) -> Results | Generator[Tensor]:
        """For some patches at a time, in order, malignant minus benign logit: float32, on the CPU."""

        @cache
        def image(number: int) -> Tensor:
            return self._processor.send(images[number])

        def compute(numbers: range) -> Tensor:
            return self._differences(patches[numbers.start : numbers.stop], image)

        return self._processor.each(compute, len(patches), self.batch_size)

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
        """Normalised patches, in order; images that are cut alike are cut in one go."""
        groups = groupby(patches, key=itemgetter(0))
        pieces = [(image(number), [box for _, box in group]) for number, group in groups]
        parts = []
        for (_shape, boxes), alike in groupby(pieces, key=lambda piece: (piece[0].shape, piece[1])):
            first, *others = [pixels for pixels, _boxes in alike]
            pixels = torch.stack([first, *others]) if others else first.unsqueeze(0)  # one may be large: not copied
            parts.append(normalised_patches(pixels, boxes, self._normalise))
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _normalise(self, pixels: Tensor) -> Tensor:
        return self.bundle.metadata.normalisation.apply(pixels, self.engine.dtype)
