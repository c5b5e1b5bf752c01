"""Every way of decoding that the benchmark compares gives the same pixels."""

from __future__ import annotations

import numpy as np

from benchmarks.png_decoding import WAYS, measure
from testing.images import encode, noise


def test_every_way_gives_the_pixels_and_a_time() -> None:
    pixels = noise(240, 230)
    file = encode(pixels)
    for decode in WAYS.values():
        np.testing.assert_array_equal(decode(file, (240, 230)), np.asarray(pixels))
    assert all(milliseconds > 0 for milliseconds in measure([file], (240, 230), turns=1).values())
