"""Images decoded once and kept as bytes on the device that trains; patches are cut from them there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from classifier.grid import PatchGrid
from classifier.imaging.patches import cut


class PatchSampler:
    """Images from which patches are drawn.

    Attributes:
        device: Where the images lie.
        grid: How they are cut.
    """

    def __init__(self, pixels: Sequence[NDArray[np.uint8]], grid: PatchGrid, device: str) -> None:
        """Take images, each RGB of shape (height, width, 3), of any sizes."""
        self.device = torch.device(device)
        self.grid = grid
        # Images of one size lie in one tensor, so that one indexing operation cuts all patches of a batch.
        shapes = [image.shape for image in pixels]
        sizes = sorted(set(shapes))
        members = [[index for index, shape in enumerate(shapes) if shape == size] for size in sizes]
        self._stacks = [_Stack(np.stack([pixels[index] for index in group]), grid, self.device) for group in members]
        self._stack, self._row = torch.zeros(2, len(pixels), dtype=torch.int64)
        for number, group in enumerate(members):
            self._stack[group], self._row[group] = number, torch.arange(len(group))

    def draw(self, chosen: Tensor, random: torch.Generator, *, anywhere: bool = True) -> Tensor:
        """One patch of each chosen image.

        Args:
            chosen: Indices of images, of shape (N,), on the CPU.
            random: A generator on the CPU, so that every device draws the same.
            anywhere: From any place in the image; else one of its grid's patches.

        Returns:
            uint8, of shape (N, 3, side, side), in channels-last memory.
        """
        across, down = torch.rand(2, len(chosen), generator=random)
        stack, row = self._stack[chosen], self._row[chosen]
        if len(self._stacks) == 1:
            patches = self._stacks[0].cut(row, across, down, anywhere=anywhere)
        else:
            side = self.grid.size
            patches = torch.empty(len(chosen), side, side, 3, dtype=torch.uint8, device=self.device)
            for number, images in enumerate(self._stacks):
                here = (stack == number).nonzero().squeeze(1)
                part = images.cut(row[here], across[here], down[here], anywhere=anywhere)
                patches[here.to(self.device)] = part
        return patches.permute(0, 3, 1, 2)

    def grid_patches(self, index: int) -> Tensor:
        """All patches of one image: uint8, of shape (patches, 3, side, side)."""
        image = self._stacks[int(self._stack[index])].images[int(self._row[index])]
        return cut(image, self.grid.boxes(width=image.shape[1], height=image.shape[0]))


class _Stack:
    """Images of one size."""

    def __init__(self, pixels: NDArray[np.uint8], grid: PatchGrid, device: torch.device) -> None:
        self.images = torch.from_numpy(pixels).to(device)
        _, height, width, _ = pixels.shape
        self._room = height - grid.size + 1, width - grid.size + 1
        self._corners = torch.tensor([(box.y, box.x) for box in grid.boxes(width=width, height=height)])
        # Every patch of every image, by its image and its upper left corner: a view, no copy.
        windows = self.images.unfold(1, grid.size, 1).unfold(2, grid.size, 1)
        self._windows = windows.permute(0, 1, 2, 4, 5, 3)

    def cut(self, row: Tensor, across: Tensor, down: Tensor, *, anywhere: bool) -> Tensor:
        """One patch of each image at a place given by two numbers from 0 to 1: of shape (N, side, side, 3)."""
        if anywhere:
            place = torch.stack([(down * self._room[0]).long(), (across * self._room[1]).long()])
        else:
            place = self._corners[(across * len(self._corners)).long()].T
        image, y, x = torch.stack([row, *place]).to(self._windows.device)
        return self._windows[image, y, x]
