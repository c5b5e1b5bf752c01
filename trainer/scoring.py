"""What trained networks say of images, patch by patch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from classifier import networks
from classifier.patches import mirrored
from trainer.hardware import Hardware
from trainer.options import FitOptions
from trainer.pool import PatchPool

PATCHES_AT_ONCE = {"cpu": 60, "cuda": 960}


@torch.inference_mode()
def patch_logits(
    modules: Sequence[nn.Module], pool: PatchPool, index: int, options: FitOptions, hardware: Hardware
) -> NDArray[np.float64]:
    """The logits of each grid patch of one image, averaged over networks and, if asked, over mirrored variants.

    Args:
        modules: In evaluation mode, on the pool's device.
        pool: Holds the image.
        index: Of the image.
        options: Network and `test_time_flips`.
        hardware: In which precision to compute.

    Returns:
        Of shape (patches, classes).
    """
    normalisation = networks.spec(options.network).normalisation
    parts = []
    for patches in torch.split(pool.grid_patches(index), PATCHES_AT_ONCE.get(pool.device.type, 60)):
        inputs = normalisation.apply(patches).contiguous(memory_format=torch.channels_last)
        variants = mirrored(inputs) if options.test_time_flips else [inputs]
        with hardware.autocast():
            logits = [module(variant) for module in modules for variant in variants]
        parts.append(torch.stack([part.double() for part in logits]).mean(dim=0).cpu().numpy())
    return np.concatenate(parts)
