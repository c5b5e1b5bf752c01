"""What trained networks say of images, patch by patch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from classifier import networks
from classifier.imaging.patches import mirrored
from trainer.fitting.hardware import Hardware
from trainer.fitting.patch_sampler import PatchSampler
from trainer.options import FitOptions

BATCH_SIZES = {"cpu": 60, "cuda": 960}


@torch.inference_mode()
def logits_of_images(
    modules: Sequence[nn.Module], sampler: PatchSampler, images: Sequence[int], options: FitOptions, hardware: Hardware
) -> list[NDArray[np.float64]]:
    """The logits of each grid patch of images, averaged over networks and, if asked, over mirrored variants.

    Patches of several images go through the networks together: a GPU takes hardly longer for all of them than for
    those of one image.

    Args:
        modules: In evaluation mode, on the sampler's device.
        sampler: Holds the images.
        images: Indices into the sampler.
        options: Network and `test_time_flips`.
        hardware: In which precision to compute.

    Returns:
        For each image an array of shape (patches, classes).
    """
    at_once = BATCH_SIZES.get(sampler.device.type, 60)
    scored: list[NDArray[np.float64]] = []
    waiting: list[Tensor] = []
    for number, image in enumerate(images):
        waiting.append(sampler.grid_patches(int(image)))
        following = len(waiting[0]) if number + 1 < len(images) else at_once
        if sum(map(len, waiting)) + following > at_once:
            logits = [_logits(modules, part, options, hardware) for part in torch.split(torch.cat(waiting), at_once)]
            scored += np.split(np.concatenate(logits), np.cumsum([len(patches) for patches in waiting])[:-1])
            waiting.clear()
    return scored


def _logits(
    modules: Sequence[nn.Module], patches: Tensor, options: FitOptions, hardware: Hardware
) -> NDArray[np.float64]:
    inputs = networks.spec(options.network).normalisation.apply(patches)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    variants = mirrored(inputs) if options.test_time_flips else [inputs]
    with hardware.autocast():
        logits = [module(variant) for module in modules for variant in variants]
    mean: NDArray[np.float64] = torch.stack([part.double() for part in logits]).mean(dim=0).cpu().numpy()
    return mean
