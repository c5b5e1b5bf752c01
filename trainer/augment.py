"""Random variants of patches, on the device that trains: the eight symmetries of a square, and the stain."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.stain import HED

_STRENGTH = 0.2
_OFFSET = 0.02


def augment(patches: Tensor, random: torch.Generator) -> Tensor:
    """Turn, mirror and re-stain each patch by chance.

    Args:
        patches: uint8, of shape (N, 3, side, side).
        random: A generator on the CPU, so that every device draws the same.

    Returns:
        float32 on the scale 0..255, of the same shape and on the same device.
    """
    return jitter_stain(turn(patches, random), random)


def turn(patches: Tensor, random: torch.Generator) -> Tensor:
    """One of the eight symmetries of a square for each patch; no pixel value changes."""
    choice = torch.randint(8, (len(patches),), generator=random).to(patches.device)
    turned = patches.clone()
    for symmetry in range(1, 8):
        chosen = choice == symmetry
        variant = torch.rot90(patches[chosen], symmetry % 4, dims=(2, 3))
        turned[chosen] = variant.flip(3) if symmetry >= 4 else variant  # noqa: PLR2004 (four turns, then mirrored)
    return turned


def jitter_stain(patches: Tensor, random: torch.Generator) -> Tensor:
    """Strengthen or weaken haematoxylin, eosin and the residue of each patch, each by up to a fifth."""
    stains = torch.from_numpy(HED).float()
    count = len(patches)
    strength = 1 + _STRENGTH * (2 * torch.rand(count, 3, generator=random) - 1)
    offset = _OFFSET * (2 * torch.rand(count, 3, generator=random) - 1)
    # Densities to stains, each stain by its strength, and back: one 3x3 matrix for each patch.
    mixing = torch.linalg.inv(stains) @ torch.diag_embed(strength) @ stains
    density = -torch.log((patches.float() + 1) / 256)
    mixed = torch.einsum("nchw,ncd->ndhw", density, mixing.to(patches.device))
    mixed = mixed + (offset @ stains).to(patches.device)[:, :, None, None]
    return (256 * torch.exp(-mixed) - 1).clamp(0, 255)
