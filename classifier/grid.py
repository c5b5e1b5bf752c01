"""The grid: the places of the patches of an image."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field


class Box(NamedTuple):
    """The place of one patch: its row and column in the grid, its upper left corner and size in pixels."""

    row: int
    column: int
    x: int
    y: int
    width: int
    height: int


class PatchGrid(BaseModel):
    """A rule that cuts an image into square, overlapping patches.

    `cover` distributes the smallest sufficient number of rows and columns evenly over the whole image, so that every
    pixel is read and neighbours are at most `stride` apart: 5 columns by 3 rows of 225 pixels on 700x460. `step` moves
    by exactly `stride` from the upper left corner and omits the rest at the right and the bottom, as the thesis's code
    did with size 224 and stride 112.

    Attributes:
        size: The side of a patch, in pixels.
        stride: The distance between neighbouring patches, in pixels: the maximum for `cover`, exact for `step`.
        layout: `cover` or `step`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=225, ge=16)
    stride: int = Field(default=119, ge=1)
    layout: Literal["cover", "step"] = "cover"

    def boxes(self, width: int, height: int) -> list[Box]:
        """Return the places of an image's patches, row by row.

        Args:
            width: The image's width, in pixels.
            height: The image's height, in pixels.

        Raises:
            ValueError: If a side is shorter than a patch.
        """
        if min(width, height) < self.size:
            raise ValueError(f"An image of {width} x {height} pixels has no room for a patch of {self.size}.")
        columns, rows = self._offsets(width), self._offsets(height)
        return [
            Box(row, column, x, y, self.size, self.size)
            for row, y in enumerate(rows)
            for column, x in enumerate(columns)
        ]

    def _offsets(self, length: int) -> list[int]:
        room = length - self.size
        if self.layout == "step":
            return list(range(0, room + 1, self.stride))
        steps = math.ceil(room / self.stride)
        return [round(i * room / steps) for i in range(steps + 1)] if steps else [0]


COVER = PatchGrid()
"""The default grid: every pixel is read."""

THESIS = PatchGrid(size=224, stride=112, layout="step")
"""The grid of the thesis's code: on 700x460 it never reads the right 28 and the bottom 12 pixel lines."""

GRIDS = {"cover": COVER, "thesis": THESIS}
"""The grids by the names that command options use."""
