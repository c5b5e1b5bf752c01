"""The normalisation of pixels for a network."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import Tensor, device, dtype


class Normalisation(BaseModel):
    """The mean and standard deviation of red, green and blue, on the scale 0..255."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def apply(self, patches: Tensor, to: dtype | None = None) -> Tensor:
        """Normalise uint8 patches of shape (N, 3, H, W) on their device, to the type `to` (None for float32)."""
        import torch

        # In channels-last memory, one vector operation covers a row of pixels; per colour, the access would be strided.
        rows = patches.permute(0, 2, 3, 1).flatten(2)
        mean = _row(self.mean, patches.shape[3], patches.device)
        scale = _row(tuple(1 / s for s in self.std), patches.shape[3], patches.device)
        normalised = rows.to(torch.float32).sub_(mean).mul_(scale).to(to or torch.float32)
        return normalised.reshape(*rows.shape[:2], -1, 3).permute(0, 3, 1, 2)


def _row(values: tuple[float, ...], pixels: int, on: device) -> Tensor:
    """Return one value per colour, repeated for a row of pixels."""
    return _colours(values, on).repeat(pixels)


@lru_cache(maxsize=64)
def _colours(values: tuple[float, ...], on: device) -> Tensor:
    """Return values as a tensor on a device; cached, because every copy to a GPU waits for the GPU."""
    import torch

    return torch.tensor(values, device=on)
