"""Cut images into patches."""

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
        pixels: RGB images, of shape (height, width, 3) or (images, height, width, 3), an array or a tensor.
        boxes: The places within each image, all of the same size.

    Returns:
        A tensor of shape (images * len(boxes), 3, size, size), image by image, with the type and device of `pixels`, in
        channels-last memory.
    """
    images = pixels if isinstance(pixels, Tensor) else torch.from_numpy(pixels)
    places = [images[..., box.y : box.y + box.height, box.x : box.x + box.width, :] for box in boxes]
    # Stacked as (N, H, W, 3) and viewed as (N, 3, H, W): channels-last without a copy.
    return torch.stack(places, dim=-4).flatten(end_dim=-4).permute(0, 3, 1, 2)


def normalised_patches(pixels: Tensor, boxes: Sequence[Box], normalise: Callable[[Tensor], Tensor]) -> Tensor:
    """Cut images into normalised patches; each pixel is normalised once, even if several patches share it.

    Args:
        pixels: Images, uint8, of shape (images, height, width, 3).
        boxes: The places within each image, all of the same size.
        normalise: Maps a tensor of shape (N, 3, height, width) to one of the same shape.

    Returns:
        The normalised patches, of shape (images * len(boxes), 3, size, size), in channels-last memory.
    """
    left, top = min(box.x for box in boxes), min(box.y for box in boxes)
    right, bottom = max(box.x + box.width for box in boxes), max(box.y + box.height for box in boxes)
    if (right - left) * (bottom - top) >= sum(box.width * box.height for box in boxes):  # they hardly overlap
        return normalise(cut(pixels, boxes))
    region = normalise(pixels[:, top:bottom, left:right].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return cut(region, [box._replace(x=box.x - left, y=box.y - top) for box in boxes])


def mirrored(patches: Tensor) -> list[Tensor]:
    """Return patches of shape (N, 3, height, width) and their three mirror images."""
    return [patches, patches.flip(3), patches.flip(2), patches.flip(2, 3)]
