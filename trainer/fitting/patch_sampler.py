"""A patch sampler: images stay as bytes on the training device, where patches are cut from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from classifier.grid import PatchGrid
from classifier.imaging.patches import cut


class PatchSampler:
    """A source of patches from a set of images.

    Attributes:
        device: The device that holds the images.
        grid: The grid that cuts images into patches.
    """

    def __init__(self, pixels: Sequence[NDArray[np.uint8]], grid: PatchGrid, device: str) -> None:
        """Copy images, each RGB of shape (height, width, 3), to the device; sizes may differ."""
        self.device = torch.device(device)
        self.grid = grid
        # Images of the same size share a tensor, so that one indexing operation cuts all patches of a batch.
        shapes = [image.shape for image in pixels]
        sizes = sorted(set(shapes))
        members = [[index for index, shape in enumerate(shapes) if shape == size] for size in sizes]
        self._stacks = [_Stack(np.stack([pixels[index] for index in group]), grid, self.device) for group in members]
        self._stack, self._row = torch.zeros(2, len(pixels), dtype=torch.int64)
        for number, group in enumerate(members):
            self._stack[group], self._row[group] = number, torch.arange(len(group))

    def draw(self, chosen: Tensor, random: torch.Generator, *, anywhere: bool = True) -> Tensor:
        """Draw one patch from each chosen image.

        Args:
            chosen: The indices of the images, of shape (N,), on the CPU.
            random: A generator on the CPU, so that every device draws the same numbers.
            anywhere: Whether to draw from any place in the image instead of from its grid patches.

        Returns:
            Patches, uint8, of shape (N, 3, side, side), in channels-last memory.
        """
        across, down = torch.rand(2, len(chosen), generator=random)
        stack, row = self._stack[chosen], self._row[chosen]
        if len(self._stacks) == 1:
            patches = self._stacks[0].cut(row, across, down, anywhere=anywhere)
        else:
            side = self.grid.size
            patches = torch.empty(len(chosen), side, side, 3, dtype=torch.uint8, device=self.device)
            for number, images in enumerate(self._stacks):
                members = (stack == number).nonzero().squeeze(1)
                cut_patches = images.cut(row[members], across[members], down[members], anywhere=anywhere)
                patches[members.to(self.device)] = cut_patches
        return patches.permute(0, 3, 1, 2)

    def grid_patches(self, index: int) -> Tensor:
        """Return all grid patches of one image: uint8, of shape (patches, 3, side, side)."""
        image = self._stacks[int(self._stack[index])].images[int(self._row[index])]
        return cut(image, self.grid.boxes(width=image.shape[1], height=image.shape[0]))


class _Stack:
    """A tensor of images of the same size."""

    def __init__(self, pixels: NDArray[np.uint8], grid: PatchGrid, device: torch.device) -> None:
        self.images = torch.from_numpy(pixels).to(device)
        _, height, width, _ = pixels.shape
        self._room = height - grid.size + 1, width - grid.size + 1
        self._corners = torch.tensor([(box.y, box.x) for box in grid.boxes(width=width, height=height)])
        # A view of every patch of every image, indexed by image and upper left corner; no copy.
        windows = self.images.unfold(1, grid.size, 1).unfold(2, grid.size, 1)
        self._windows = windows.permute(0, 1, 2, 4, 5, 3)

    def cut(self, row: Tensor, across: Tensor, down: Tensor, *, anywhere: bool) -> Tensor:
        """Cut one patch from each image, at a place given by two numbers from 0 to 1: of shape (N, side, side, 3)."""
        if anywhere:
            place = torch.stack([(down * self._room[0]).long(), (across * self._room[1]).long()])
        else:
            place = self._corners[(across * len(self._corners)).long()].T
        image, y, x = torch.stack([row, *place]).to(self._windows.device)
        return self._windows[image, y, x]
