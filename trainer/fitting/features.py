"""Frozen features: what a pretrained network's last layer would read of every patch, kept on disk."""

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
    """The patches of a data set as vectors.

    Attributes:
        values: float32, of shape (patches, width).
        image: Index into the data set's images of each patch, of shape (patches,), ascending.
    """

    values: NDArray[np.float32]
    image: NDArray[np.intp]

    def of(self, image: int) -> NDArray[np.float32]:
        """Of one image, of shape (its patches, width)."""
        first, last = np.searchsorted(self.image, (image, image + 1))
        return self.values[first:last]

    def image_means(self) -> NDArray[np.float64]:
        """The mean over each image's patches, of shape (images, width)."""
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

    Each image's features are a file named by the image's pixels, in a folder named by what made them, so a second
    run only reads files, and one that was broken off goes on where it was.

    Args:
        data: The data set.
        network: A key of `classifier.networks.NETWORKS`.
        grid: How images are cut.
        cache: Folder for the files; they go into `features/` there.
        device: Where the network runs, in PyTorch's notation.
        magnification: Shrink images of a higher magnification towards this one; see `shrink`. No change when "".
        test_time_flips: Average each patch's features over its four mirrored variants: for a linear head the same as
            averaging its logits.
        progress: Show a progress bar.

    Raises:
        WeightsUnavailableError: If the ImageNet weights cannot be had.
        DataSetError: If a file changed since the data set was read.
    """
    extractor = _Extractor(network, grid, device, test_time_flips=test_time_flips)
    folder = cache / "features" / f"{network}-{extractor.recipe}"
    targets = [magnification if magnification and image.magnification != magnification else "" for image in data.images]
    paths = [
        folder / f"{image.sha256}{'-' + target if target else ''}.npy"
        for image, target in zip(data.images, targets, strict=True)
    ]
    kept = [load_array(path) for path in paths]
    missing = [number for number, vectors in enumerate(kept) if vectors is None]
    for number in ProgressBar(
        missing, stage=Stage.FEATURES, desc=f"Features of {network}", unit="image",
        initial=len(kept) - len(missing), total=len(kept), disable=not progress,
    ):  # fmt: skip
        vectors = extractor.compute(data.images[number], targets[number])
        store_array(paths[number], vectors)
        kept[number] = vectors
    values = [vectors for vectors in kept if vectors is not None]
    counts = [len(vectors) for vectors in values]
    return PatchFeatures(np.concatenate(values), np.repeat(np.arange(len(values)), counts))


def shrink(pixels: NDArray[np.uint8], from_magnification: str, to: str, smallest: int) -> NDArray[np.uint8]:
    """Resize a micrograph to look as at a lower magnification, as far as its shorter side remains `smallest`.

    Args:
        pixels: RGB, uint8, of shape (height, width, 3).
        from_magnification: Of the image, such as `100X`; "" or a lower one than `to` leaves it as it is.
        to: The magnification wanted, such as `40X`; "" leaves the image as it is.
        smallest: Side of a patch, in pixels.
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
    """A pretrained network and all else, but the image, that features depend on."""

    def __init__(self, network: str, grid: PatchGrid, device: str, *, test_time_flips: bool) -> None:
        self._spec, self._grid, self._device = networks.spec(network), grid, torch.device(device)
        self._flips = test_time_flips
        self._module = networks.create(network, weights="imagenet")
        self.recipe = self._hash()
        self._module.to(self._device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def compute(self, image: LabelledImage, target: str) -> NDArray[np.float32]:
        """Of shape (patches, width); the image is shrunk towards the magnification `target` unless that is ""."""
        pixels = decode_pixels(image)
        if target:
            pixels = shrink(pixels, image.magnification, target, self._grid.size)
        boxes = self._grid.boxes(width=pixels.shape[1], height=pixels.shape[0])
        patches = cut(torch.from_numpy(pixels).to(self._device), boxes)
        vectors = []
        for batch in torch.split(patches, BATCH_SIZES.get(self._device.type, 60)):
            inputs = self._spec.normalisation.apply(batch).contiguous(memory_format=torch.channels_last)
            variants = mirrored(inputs) if self._flips else [inputs]
            read = [networks.features(self._module, self._spec.name, variant) for variant in variants]
            vectors.append(torch.stack(read).mean(dim=0))
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
            if not name.startswith(f"{self._spec.head}."):  # the head's random start is not read
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:16]
