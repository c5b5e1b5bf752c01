"""Frozen features: the input of a pretrained network's last layer for every patch, cached on disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from classifier import networks
from classifier.grid import PatchGrid
from classifier.imaging.patches import cut, mirrored
from trainer.data.datasets import ImageDataset
from trainer.data.image_cache import decode_pixels, load_array, store_array
from trainer.data.records import LabelledImage
from trainer.fitting.scoring import BATCH_SIZES
from trainer.utils.progress import ProgressBar, Stage

_FORMAT = 1


@dataclass(frozen=True)
class PatchFeatures:
    """The feature vectors of all patches of a data set.

    Attributes:
        values: The vectors, float32, of shape (patches, width).
        image: The index of each patch's image into the data set, of shape (patches,), ascending.
    """

    values: NDArray[np.float32]
    image: NDArray[np.intp]

    def of(self, image: int) -> NDArray[np.float32]:
        """Return the vectors of one image, of shape (patches of the image, width)."""
        first, last = np.searchsorted(self.image, (image, image + 1))
        return self.values[first:last]

    def image_means(self) -> NDArray[np.float64]:
        """Return the mean vector of each image, of shape (images, width)."""
        starts = np.searchsorted(self.image, np.arange(self.image[-1] + 1))
        counts = np.diff(np.append(starts, self.image.size))
        sums = np.add.reduceat(self.values, starts, axis=0, dtype=np.float64)
        means: NDArray[np.float64] = sums / counts[:, None]
        return means


def extract(
    data: ImageDataset,
    network: str,
    *,
    grid: PatchGrid,
    cache: Path,
    device: str = "cpu",
    magnification: str = "",
    test_time_flips: bool = False,
    progress: bool = False,
) -> PatchFeatures:
    """Run a network with ImageNet weights over all patches of all images.

    The features of each image are cached in a file named by the hash of its pixels, in a folder named by the hash of
    everything else that they depend on. A second run only reads files, and an interrupted one continues.

    Args:
        data: The data set.
        network: A key of `classifier.networks.NETWORKS`.
        grid: The grid that cuts images into patches.
        cache: The cache folder; the files are in its subfolder `features`.
        device: The device that the network runs on, in PyTorch's notation.
        magnification: The magnification that images of higher ones are scaled down to, see `shrink`; "" for no change.
        test_time_flips: Average each patch's features over the patch and its three mirror images. For a linear head
            this equals averaging the logits.
        progress: Show a progress bar.

    Raises:
        WeightsUnavailableError: If the ImageNet weights are not available.
        DataSetError: If a file has changed since the data set was read.
    """
    extractor = _Extractor(network, grid, device, test_time_flips=test_time_flips)
    folder = cache / "features" / f"{network}-{extractor.recipe}"
    targets = [magnification if magnification and image.magnification != magnification else "" for image in data.images]
    paths = [
        folder / f"{image.sha256}{'-' + target if target else ''}.npy"
        for image, target in zip(data.images, targets, strict=True)
    ]
    cached = [load_array(path) for path in paths]
    missing = [number for number, vectors in enumerate(cached) if vectors is None]
    for number in ProgressBar(
        missing, stage=Stage.FEATURES, desc=f"Features of {network}", unit="image",
        initial=len(cached) - len(missing), total=len(cached), disable=not progress,
    ):  # fmt: skip
        vectors = extractor.compute(data.images[number], targets[number])
        store_array(paths[number], vectors)
        cached[number] = vectors
    values = [vectors for vectors in cached if vectors is not None]
    counts = [len(vectors) for vectors in values]
    return PatchFeatures(np.concatenate(values), np.repeat(np.arange(len(values)), counts))


def shrink(pixels: NDArray[np.uint8], from_magnification: str, to: str, smallest: int) -> NDArray[np.uint8]:
    """Scale a micrograph down to a lower magnification, but not below `smallest` for its shorter side.

    Args:
        pixels: RGB, uint8, of shape (height, width, 3).
        from_magnification: The image's magnification, such as `100X`. If it is "" or lower than `to`, the image is
            returned unchanged.
        to: The target magnification, such as `40X`; "" for no change.
        smallest: The side of a patch, in pixels.
    """
    if not from_magnification or not to:
        return pixels
    height, width = pixels.shape[:2]
    scale = max(int(to[:-1]) / int(from_magnification[:-1]), smallest / min(height, width))
    if scale >= 1:
        return pixels
    size = (max(smallest, round(width * scale)), max(smallest, round(height * scale)))
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


class _Extractor:
    """A pretrained network with everything, except the image, that features depend on."""

    def __init__(self, network: str, grid: PatchGrid, device: str, *, test_time_flips: bool) -> None:
        self._spec, self._grid, self._device = networks.spec(network), grid, torch.device(device)
        self._flips = test_time_flips
        self._module = networks.create(network, weights="imagenet")
        self.recipe = self._hash()
        self._module.to(self._device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def compute(self, image: LabelledImage, target: str) -> NDArray[np.float32]:
        """Return the features of an image scaled down to the magnification `target`, of shape (patches, width)."""
        pixels = decode_pixels(image)
        if target:
            pixels = shrink(pixels, image.magnification, target, self._grid.size)
        boxes = self._grid.boxes(width=pixels.shape[1], height=pixels.shape[0])
        patches = cut(torch.from_numpy(pixels).to(self._device), boxes)
        vectors = []
        for batch in torch.split(patches, BATCH_SIZES.get(self._device.type, 60)):
            inputs = self._spec.normalisation.apply(batch).contiguous(memory_format=torch.channels_last)
            variants = mirrored(inputs) if self._flips else [inputs]
            features = [networks.features(self._module, self._spec.name, variant) for variant in variants]
            vectors.append(torch.stack(features).mean(dim=0))
        values: NDArray[np.float32] = torch.cat(vectors).float().cpu().numpy()
        return values

    def _hash(self) -> str:
        recipe = (
            _FORMAT, torch.__version__, self._device.type,
            self._grid.model_dump_json(), self._spec.normalisation.model_dump_json(),
        )  # fmt: skip
        digest = hashlib.sha256(" ".join(map(str, recipe)).encode())
        digest.update(b"flips" if self._flips else b"")
        for name, tensor in self._module.state_dict().items():
            if not name.startswith(f"{self._spec.head}."):  # the head's random weights are not used
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:16]
