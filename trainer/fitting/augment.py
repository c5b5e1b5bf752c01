"""Random variants of patches, on the device that trains: the eight symmetries of a square, and the stain."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.utils.stain import HED

_OFFSET = 0.1
"""Of the strength: how much stain may be added or taken away everywhere in a patch."""

_AT_ONCE = {"cpu": 8}
"""Patches whose stains change together: on a CPU as many as its caches hold, elsewhere all of them."""


def augment(patches: Tensor, random: torch.Generator, *, turn_them: bool = True, stain: float = 0.2) -> Tensor:
    """Turn, mirror and re-stain each patch by chance.

    Args:
        patches: uint8, of shape (N, 3, side, side).
        random: A generator on the CPU, so that every device draws the same.
        turn_them: Whether to turn and mirror.
        stain: By what share stains are strengthened or weakened at most; 0 leaves them.

    Returns:
        uint8, or float32 on the scale 0..255 where stains changed, of the same shape and on the same device.
    """
    turned = turn(patches, random) if turn_them else patches
    return jitter_stain(turned, random, stain) if stain else turned


def turn(patches: Tensor, random: torch.Generator) -> Tensor:
    """One of the eight symmetries of a square for each patch; no pixel value changes."""
    choice = torch.randint(8, (len(patches),), generator=random)
    turned = patches.clone()
    for symmetry in range(1, 8):
        # Found on the CPU: to find them on a GPU, the CPU would wait until the GPU has caught up, seven times a step.
        chosen = (choice == symmetry).nonzero().squeeze(1).to(patches.device)
        variant = torch.rot90(patches[chosen], symmetry % 4, dims=(2, 3))
        turned[chosen] = variant.flip(3) if symmetry >= 4 else variant  # noqa: PLR2004 (four turns, then mirrored)
    return turned


def jitter_stain(patches: Tensor, random: torch.Generator, most: float = 0.2) -> Tensor:
    """Strengthen or weaken haematoxylin, eosin and the residue of each patch, each by up to the share `most`."""
    stains = torch.from_numpy(HED).float()
    count, _, height, width = patches.shape
    strength = 1 + most * (2 * torch.rand(count, 3, generator=random) - 1)
    offset = _OFFSET * most * (2 * torch.rand(count, 3, generator=random) - 1)
    # Densities to stains, each stain by its strength, and back: one 3x3 matrix for each patch.
    mixing = torch.linalg.inv(stains) @ torch.diag_embed(strength) @ stains
    # Density is log(256) - log(pixel + 1). The constant goes through the matrix once, not with every pixel.
    constant = math.log(256) * (1 - mixing.sum(dim=1)) - offset @ stains
    mixing, constant = mixing.to(patches.device), constant.to(patches.device)
    pixels = patches.permute(0, 2, 3, 1).reshape(count, height * width, 3)
    at_once = _AT_ONCE.get(patches.device.type, count)
    parts = zip(*(torch.split(whole, at_once) for whole in (pixels, mixing, constant)), strict=True)
    mixed = [_mix(*part) for part in parts]
    return torch.cat(mixed).view(count, height, width, 3).permute(0, 3, 1, 2)


def _mix(pixels: Tensor, mixing: Tensor, constant: Tensor) -> Tensor:
    """Float pixels 0..255 of patches of shape (N, pixels, 3) whose logarithms went through a matrix for each patch."""
    light = pixels.float().add_(1).log_()
    return torch.baddbmm(constant[:, None], light, mixing).exp_().sub_(1).clamp_(0, 255)
