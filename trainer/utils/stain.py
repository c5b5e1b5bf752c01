"""Haematoxylin and eosin as light absorbers: stain colours, for drawing and for augmenting images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
HED /= np.linalg.norm(HED, axis=1, keepdims=True)
"""The optical density of red, green and blue for one unit of haematoxylin, eosin and a residue (Ruifrok and
Johnston, 2001), of shape (stains, colours)."""


def to_rgb(amounts: NDArray[np.float32], stains: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Compute the light that passes through stained tissue.

    Args:
        amounts: The amount of each stain, of shape (height, width, stains).
        stains: The optical densities, of shape (stains, colours), such as rows of `HED`.

    Returns:
        An RGB image, of shape (height, width, 3).
    """
    light = np.exp(-(amounts @ stains.astype(np.float32)))
    rgb: NDArray[np.uint8] = np.clip(light * 255, 0, 255).astype(np.uint8)
    return rgb
