"""A pool of small images, and a network that calls some of them benign and some malignant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from classifier import bundle, networks
from classifier.grid import COVER
from classifier.predictor import Predictor
from testing.images import encode, noise

SIZE = 30
SPREAD = 2.0
"""The standard deviation of the patches' logits."""
MARGIN = 0.05
"""The smallest distance of a logit from zero: the batch changes the last digits, which must not change a vote."""


def picture(number: int) -> NDArray[np.uint8]:
    """Return the pixels of one to three patches side by side, each with a tint and a contrast of its own."""
    chance = np.random.default_rng(number)
    width = COVER.size + COVER.stride * (number % 3)
    pixels = noise(width, COVER.size, seed=number).astype(float)
    for left in range(0, width, COVER.stride):
        part = pixels[:, left : left + COVER.stride]
        part[:] = part * chance.uniform(0.2, 1) + chance.uniform(-60, 40, 3)
    return pixels.clip(0, 255).astype(np.uint8)


class Pool:
    """Images as files, with the bundle that classifies them.

    Attributes:
        files: Different PNG files.
        bundle: The folder of a bundle. Its network is small, so that two cores read thousands of cases in minutes.
    """

    def __init__(self, folder: Path) -> None:
        """Draw the images and write the bundle below a folder."""
        candidates = [picture(number) for number in range(2 * SIZE)]
        module = networks.create("squeezenet")
        state = _random_weights(module)
        probe = [logit for logits in _logits(folder / "probe", state, candidates) for logit in logits]
        # The logits of random weights are nearly equal: scale them, and shift them so that half of them are malignant.
        scale = SPREAD / float(np.std(probe))
        state["classifier.1.weight"] *= scale
        state["classifier.1.bias"][:] = torch.tensor([float(np.median(probe)) * scale, 0.0])
        self.bundle = folder / "pool"
        logits = _logits(self.bundle, state, candidates)
        clear = [pixels for pixels, few in zip(candidates, logits, strict=True) if min(map(abs, few)) > MARGIN]
        self.files = [encode(pixels) for pixels in clear[:SIZE]]
        if len(self.files) < SIZE:
            raise AssertionError(f"only {len(self.files)} pictures have clear votes")


def _random_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return weights whose output for the class benign is constant, so that one number decides."""
    chance = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(tensor.shape, generator=chance) * (2 / max(1, tensor[0].numel())) ** 0.5
        if tensor.dim() > 1
        else torch.zeros_like(tensor)
        for name, tensor in module.state_dict().items()
    }
    state["classifier.1.weight"][0] = 0
    state["classifier.1.weight"][1].abs_()  # the network ends in a ReLU, which must let it through
    return state


def _logits(folder: Path, state: dict[str, torch.Tensor], pictures: list[NDArray[np.uint8]]) -> list[list[float]]:
    metadata = bundle.BundleMetadata(
        name="pool",
        network="squeezenet",
        normalisation=networks.spec("squeezenet").normalisation,
        threshold=0.5,
        synthetic=True,
    )
    predictor = Predictor(bundle.save(folder, state, metadata), precision="float32")
    return [logits for _, logits in predictor.start(pictures).logits()]


BAD_FILES = {
    "not an image": b"This is no image.",
    "truncated": encode(noise(300, 300))[:-200],
    "too small": encode(noise(60, 60)),
}
"""Files that have to be refused, by reason."""
