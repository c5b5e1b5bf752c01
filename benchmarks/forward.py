"""The bare forward pass, with patches on the device: an upper bound for every way of serving."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import clock
from classifier.engine.fusion import fuse
from trainer.fitting.cpu import keep_freed_memory

PRECISIONS = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""The number formats by name; tf32 is float32 with products that a GPU rounds."""

PATCH = 225


@dataclass(frozen=True)
class Way:
    """A way of running a network.

    Attributes:
        precision: A key of `PRECISIONS`.
        channels_last: Whether memory is channels-last.
        compiled: Whether the network is compiled with `torch.compile`.
        fused: Whether the network is fused by `classifier.engine.fusion`, as in production.
    """

    precision: str
    channels_last: bool = True
    compiled: bool = False
    fused: bool = False

    def __str__(self) -> str:
        """Return the name for tables."""
        layout = "channels-last" if self.channels_last else "contiguous"
        return f"{self.precision}, {layout}{', compiled' * self.compiled}{', fused' * self.fused}"


class Forward:
    """A network prepared in one way."""

    def __init__(self, module: nn.Module, device: str, way: Way) -> None:
        """Prepare a copy of the network, in evaluation mode."""
        self._device, self._way = device, way
        if torch.device(device).type == "cpu":
            keep_freed_memory()  # as a worker does
        self._layout = torch.channels_last if way.channels_last else torch.contiguous_format
        chosen = fuse(module.eval(), PATCH) if way.fused else copy.deepcopy(module).eval()
        prepared = chosen.to(device, PRECISIONS[way.precision])
        prepared = prepared.to(memory_format=self._layout)
        self._module: Any = torch.compile(prepared, dynamic=False) if way.compiled else prepared

    def rate(self, batch: int, seconds: float) -> float:
        """Return patches per second, after two warm-up passes."""
        patches = self._patches(batch)
        with torch.inference_mode(), tf32(allowed=self._way.precision == "tf32"):
            self._time(patches, 1)
            passes = max(1, round(seconds / self._time(patches, 1)))
            return passes * batch / self._time(patches, passes)

    def _time(self, patches: Tensor, passes: int) -> float:
        began = clock.read(self._device)
        for _ in range(passes):
            self._module(patches)
        return clock.read(self._device) - began

    def _patches(self, batch: int) -> Tensor:
        dtype = PRECISIONS[self._way.precision]
        patches = torch.randn(batch, 3, PATCH, PATCH, device=self._device, dtype=dtype)
        return patches.contiguous(memory_format=self._layout)


@contextmanager
def tf32(*, allowed: bool) -> Iterator[None]:
    """Enable or disable TF32 inside the block; restore PyTorch's setting afterwards."""
    cudnn, precision = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = allowed
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = cudnn
        torch.set_float32_matmul_precision(precision)
