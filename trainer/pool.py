"""Images decoded once and kept as bytes on the device that trains; patches are cut from them there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from classifier.grid import PatchGrid
from classifier.patches import cut


class PatchPool:
    """Images from which patches are drawn.

    Attributes:
        device: Where the images lie.
        grid: How they are cut.
    """

    def __init__(self, pixels: Sequence[NDArray[np.uint8]], grid: PatchGrid, device: str) -> None:
        """Take images, each RGB of shape (height, width, 3), of any sizes."""
        self.device = torch.device(device)
        self.grid = grid
        self._images = [torch.from_numpy(np.array(image)).to(self.device) for image in pixels]

    def draw(self, chosen: Tensor, random: torch.Generator, *, anywhere: bool = True) -> Tensor:
        """One patch of each chosen image.

        Args:
            chosen: Indices of images, of shape (N,), on the CPU.
            random: A generator on the CPU, so that every device draws the same.
            anywhere: From any place in the image; else one of its grid's patches.

        Returns:
            uint8, of shape (N, 3, side, side), in channels-last memory.
        """
        side = self.grid.size
        patches = []
        for index, across, down in zip(chosen.tolist(), *torch.rand(2, len(chosen), generator=random), strict=True):
            image = self._images[index]
            height, width = image.shape[:2]
            if anywhere:
                x, y = int(across * (width - side + 1)), int(down * (height - side + 1))
            else:
                boxes = self.grid.boxes(width=width, height=height)
                box = boxes[int(across * len(boxes))]
                x, y = box.x, box.y
            patches.append(image[y : y + side, x : x + side])
        return torch.stack(patches).permute(0, 3, 1, 2)

    def grid_patches(self, index: int) -> Tensor:
        """All patches of one image: uint8, of shape (patches, 3, side, side)."""
        image = self._images[index]
        return cut(image, self.grid.boxes(width=image.shape[1], height=image.shape[0]))
