"""How pixels become a network's input."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import Tensor, device, dtype


class Normalisation(BaseModel):
    """Mean and standard deviation of each of the colours red, green, blue, on the 0..255 scale."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def apply(self, patches: Tensor, to: dtype | None = None) -> Tensor:
        """Normalise uint8 patches of shape (N, 3, H, W), on their device, to `to` (float32 when None)."""
        import torch

        # Colours lie beside each other: whole lines of pixels are one vector operation, single colours are not.
        lines = patches.permute(0, 2, 3, 1).flatten(2)
        mean = _line(self.mean, patches.shape[3], patches.device)
        scale = _line(tuple(1 / s for s in self.std), patches.shape[3], patches.device)
        normalised = lines.to(torch.float32).sub_(mean).mul_(scale).to(to or torch.float32)
        return normalised.reshape(*lines.shape[:2], -1, 3).permute(0, 3, 1, 2)


def _line(values: tuple[float, ...], pixels: int, on: device) -> Tensor:
    """One value for each colour, as a line of pixels."""
    return _colours(values, on).repeat(pixels)


@lru_cache(maxsize=64)
def _colours(values: tuple[float, ...], on: device) -> Tensor:
    """Values on a device: kept, for to send them to a GPU is to wait for the GPU."""
    import torch

    return torch.tensor(values, device=on)
