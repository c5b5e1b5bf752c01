"""Patches that share pixels are the same as patches that are made one by one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from classifier.grid import COVER, Box
from classifier.imaging.normalisation import Normalisation
from classifier.imaging.patches import cut, normalised_patches
from testing.images import noise

NORMALISATION = Normalisation(mean=(10, 120, 200), std=(3, 50, 70))
GRID = COVER.boxes(width=700, height=460)
FAR_APART = [Box(0, 0, 0, 0, 225, 225), Box(9, 9, 470, 230, 225, 225)]


def size(pixels: Tensor) -> int:
    return pixels.shape[2] * pixels.shape[3] * len(pixels)


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("boxes", [GRID, GRID[:1], GRID[3:8], GRID[-2:], FAR_APART])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_are_equal_to_the_bit(images: int, boxes: Sequence[Box], dtype: torch.dtype) -> None:
    pixels = torch.from_numpy(np.stack([noise(700, 460, seed=seed) for seed in range(images)]))
    found = normalised_patches(pixels, boxes, lambda part: NORMALISATION.apply(part, dtype))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, NORMALISATION.apply(cut(pixels, boxes), dtype))


@pytest.mark.parametrize("boxes", [GRID, GRID[3:8], FAR_APART])
def test_no_more_pixels_are_normalised_than_patches_have(boxes: Sequence[Box]) -> None:
    normalised: list[int] = []

    def normalise(part: Tensor) -> Tensor:
        normalised.append(size(part))
        return part

    patches = normalised_patches(torch.from_numpy(noise(700, 460)[np.newaxis]), boxes, normalise)
    assert sum(normalised) <= size(patches)


def test_a_whole_image_is_normalised_once() -> None:
    normalised: list[int] = []

    def normalise(part: Tensor) -> Tensor:
        normalised.append(size(part))
        return part

    normalised_patches(torch.from_numpy(noise(700, 460)[np.newaxis]), GRID, normalise)
    assert normalised == [700 * 460]
