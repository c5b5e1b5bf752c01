"""Where patches lie."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from classifier.grid import COVER, THESIS, PatchGrid
from classifier.imaging.patches import cut
from testing.images import noise


def shape(boxes: list) -> tuple[int, int]:
    return max(box.row for box in boxes) + 1, max(box.column for box in boxes) + 1


def test_a_breakhis_image_gives_five_columns_by_three_rows() -> None:
    boxes = COVER.boxes(700, 460)
    assert shape(boxes) == (3, 5)
    assert len(boxes) == 15
    assert [(box.row, box.column) for box in boxes[:6]] == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]
    assert {(box.width, box.height) for box in boxes} == {(225, 225)}


@pytest.mark.parametrize(
    "size", [(700, 460), (700, 456), (672, 448), (225, 225), (226, 1000), (1388, 1040), (4001, 3003)]
)
def test_every_pixel_is_read_and_neighbours_overlap_enough(size: tuple[int, int]) -> None:
    width, height = size
    read = np.zeros((height, width), bool)
    boxes = COVER.boxes(width, height)
    for box in boxes:
        assert box.x >= 0 and box.y >= 0
        assert box.x + box.width <= width and box.y + box.height <= height
        read[box.y : box.y + box.height, box.x : box.x + box.width] = True
    assert read.all()
    for xs in (sorted({box.x for box in boxes}), sorted({box.y for box in boxes})):
        assert all(b - a <= COVER.stride for a, b in pairwise(xs))


def test_the_thesis_grid_leaves_the_right_28_and_bottom_12_lines() -> None:
    boxes = THESIS.boxes(700, 460)
    assert shape(boxes) == (3, 5)
    assert max(box.x + box.width for box in boxes) == 700 - 28
    assert max(box.y + box.height for box in boxes) == 460 - 12


def test_an_image_smaller_than_a_patch_is_an_error() -> None:
    with pytest.raises(ValueError, match="no room"):
        COVER.boxes(224, 460)


def test_cut_takes_the_pixels_of_each_box() -> None:
    pixels = noise()
    boxes = PatchGrid(size=200, stride=170).boxes(700, 460)
    patches = cut(pixels, boxes)
    assert patches.shape == (len(boxes), 3, 200, 200)
    assert patches.is_contiguous(memory_format=torch.channels_last)
    for box, patch in zip(boxes, patches, strict=True):
        expected = pixels[box.y : box.y + 200, box.x : box.x + 200].transpose(2, 0, 1)
        np.testing.assert_array_equal(patch.numpy(), expected)
