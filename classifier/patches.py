"""Cutting patches out of images, as tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from classifier.grid import Box


def cut(pixels: NDArray[np.uint8] | Tensor, boxes: Sequence[Box]) -> Tensor:
    """Cut an image, or several of one size, into patches.

    Args:
        pixels: RGB, uint8, of shape (height, width, 3) or (images, height, width, 3), an array or a tensor on any
            device.
        boxes: Equal-sized places within each image.

    Returns:
        uint8 tensor of shape (images * len(boxes), 3, size, size), image by image, on the images' device, in
        channels-last memory.
    """
    images = pixels if isinstance(pixels, Tensor) else torch.from_numpy(pixels)
    places = [images[..., box.y : box.y + box.height, box.x : box.x + box.width, :] for box in boxes]
    # Stacked as (N, H, W, 3) and seen as (N, 3, H, W): channels-last without a copy.
    return torch.stack(places, dim=-4).flatten(end_dim=-4).permute(0, 3, 1, 2)


def mirrored(patches: Tensor) -> list[Tensor]:
    """The four mirrored variants of patches of shape (N, 3, height, width), as they are first."""
    return [patches, patches.flip(3), patches.flip(2), patches.flip(2, 3)]
