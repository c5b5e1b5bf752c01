"""Cutting patches out of images, as tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from classifier.grid import Box


def cut(pixels: NDArray[np.uint8] | Tensor, boxes: Sequence[Box]) -> Tensor:
    """Cut an image, or several of one size, into patches.

    Args:
        pixels: RGB, of shape (height, width, 3) or (images, height, width, 3), an array or a tensor on any device.
        boxes: Equal-sized places within each image.

    Returns:
        Tensor of shape (images * len(boxes), 3, size, size), image by image, of the images' type and on their device,
        in channels-last memory.
    """
    images = pixels if isinstance(pixels, Tensor) else torch.from_numpy(pixels)
    places = [images[..., box.y : box.y + box.height, box.x : box.x + box.width, :] for box in boxes]
    # Stacked as (N, H, W, 3) and seen as (N, 3, H, W): channels-last without a copy.
    return torch.stack(places, dim=-4).flatten(end_dim=-4).permute(0, 3, 1, 2)


def normalised_patches(pixels: Tensor, boxes: Sequence[Box], normalise: Callable[[Tensor], Tensor]) -> Tensor:
    """Cut images into patches, every pixel normalised once however many patches share it.

    Args:
        pixels: uint8, of shape (images, height, width, 3).
        boxes: Equal-sized places within each image.
        normalise: From (N, 3, height, width) to the same.

    Returns:
        What `normalise` gives of the patches: of shape (images * len(boxes), 3, size, size), in channels-last memory.
    """
    left, top = min(box.x for box in boxes), min(box.y for box in boxes)
    right, bottom = max(box.x + box.width for box in boxes), max(box.y + box.height for box in boxes)
    if (right - left) * (bottom - top) >= sum(box.width * box.height for box in boxes):  # they lie far apart
        return normalise(cut(pixels, boxes))
    region = normalise(pixels[:, top:bottom, left:right].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return cut(region, [box._replace(x=box.x - left, y=box.y - top) for box in boxes])


def mirrored(patches: Tensor) -> list[Tensor]:
    """The four mirrored variants of patches of shape (N, 3, height, width), as they are first."""
    return [patches, patches.flip(3), patches.flip(2), patches.flip(2, 3)]
