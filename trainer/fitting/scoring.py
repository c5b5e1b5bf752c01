"""The logits of trained networks for images, patch by patch."""

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
"""The number of patches in a forward pass, by type of device."""


@torch.inference_mode()
def logits_of_images(
    modules: Sequence[nn.Module], sampler: PatchSampler, images: Sequence[int], options: FitOptions, hardware: Hardware
) -> list[NDArray[np.float64]]:
    """Compute the logits of the grid patches of images, averaged over networks and, optionally, over mirror images.

    Patches of several images share a batch, because a GPU needs hardly more time for it than for those of one image.

    Args:
        modules: The networks, in evaluation mode, on the sampler's device.
        sampler: The source of the images.
        images: The indices of the images in the sampler.
        options: The network and `test_time_flips`.
        hardware: The precision.

    Returns:
        The logits of each image, of shape (patches, classes).
    """
    batch_size = BATCH_SIZES.get(sampler.device.type, 60)
    scored: list[NDArray[np.float64]] = []
    waiting: list[Tensor] = []
    for number, image in enumerate(images):
        waiting.append(sampler.grid_patches(int(image)))
        following = len(waiting[0]) if number + 1 < len(images) else batch_size
        if sum(map(len, waiting)) + following > batch_size:
            batches = torch.split(torch.cat(waiting), batch_size)
            logits = [_logits(modules, batch, options, hardware) for batch in batches]
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
    mean: NDArray[np.float64] = torch.stack([one.double() for one in logits]).mean(dim=0).cpu().numpy()
    return mean
