"""Augmentation of patches on the training device: the symmetries of a square, and stain jitter."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.utils.stain import HED

_OFFSET = 0.1
"""The maximum stain that is added to or removed from a whole patch, as a share of the strength."""

_CHUNKS = {"cpu": 8}
"""The number of patches whose stains change together: on a CPU as many as fit into its caches, elsewhere all."""


def augment(patches: Tensor, random: torch.Generator, *, rotate: bool = True, stain: float = 0.2) -> Tensor:
    """Rotate, mirror and re-stain each patch at random.

    Args:
        patches: Patches, uint8, of shape (N, 3, side, side).
        random: A generator on the CPU, so that every device draws the same numbers.
        rotate: Whether to rotate and mirror.
        stain: The maximum share by which stains are strengthened or weakened; 0 leaves them unchanged.

    Returns:
        Patches of the same shape on the same device: uint8, or float32 on the scale 0..255 if stains changed.
    """
    rotated = rotate_and_mirror(patches, random) if rotate else patches
    return jitter_stain(rotated, random, stain) if stain else rotated


def rotate_and_mirror(patches: Tensor, random: torch.Generator) -> Tensor:
    """Apply one of the eight symmetries of a square to each patch; no pixel value changes."""
    choice = torch.randint(8, (len(patches),), generator=random)
    result = patches.clone()
    for symmetry in range(1, 8):
        # Computed on the CPU: on a GPU, `nonzero` would wait for the GPU, seven times per step.
        chosen = (choice == symmetry).nonzero().squeeze(1).to(patches.device)
        variant = torch.rot90(patches[chosen], symmetry % 4, dims=(2, 3))
        result[chosen] = variant.flip(3) if symmetry >= 4 else variant  # noqa: PLR2004 (four rotations, then mirrored)
    return result


def jitter_stain(patches: Tensor, random: torch.Generator, amount: float = 0.2) -> Tensor:
    """Strengthen or weaken haematoxylin, eosin and the residue of each patch, each by up to the share `amount`."""
    stains = torch.from_numpy(HED).float()
    count, _, height, width = patches.shape
    strength = 1 + amount * (2 * torch.rand(count, 3, generator=random) - 1)
    offset = _OFFSET * amount * (2 * torch.rand(count, 3, generator=random) - 1)
    # Densities to stains, each stain times its strength, and back: one 3x3 matrix per patch.
    mixing = torch.linalg.inv(stains) @ torch.diag_embed(strength) @ stains
    # The density is log(256) - log(pixel + 1). The constant is multiplied by the matrix once, not for every pixel.
    constant = math.log(256) * (1 - mixing.sum(dim=1)) - offset @ stains
    mixing, constant = mixing.to(patches.device), constant.to(patches.device)
    pixels = patches.permute(0, 2, 3, 1).reshape(count, height * width, 3)
    size = _CHUNKS.get(patches.device.type, count)
    chunks = zip(*(torch.split(tensor, size) for tensor in (pixels, mixing, constant)), strict=True)
    mixed = [_mix(*chunk) for chunk in chunks]
    return torch.cat(mixed).view(count, height, width, 3).permute(0, 3, 1, 2)


def _mix(pixels: Tensor, mixing: Tensor, constant: Tensor) -> Tensor:
    """Multiply the logarithms of pixels of shape (N, pixels, 3) by a matrix per patch; return floats 0..255."""
    light = pixels.float().add_(1).log_()
    return torch.baddbmm(constant[:, None], light, mixing).exp_().sub_(1).clamp_(0, 255)
