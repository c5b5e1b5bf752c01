"""What makes networks on a CPU faster and changes nothing else."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor, nn

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -3, -1, -4, -8
"""glibc's names for mallopt's parameters."""


@functools.cache
def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, where its C library is glibc.

    A training step allocates and frees the same large tensors again and again, and so does a forward pass; handing them
    back to the system each time and faulting their pages in anew took a tenth (ResNet18) to a third (AlexNet) of a
    step, and a sixth of a forward pass (ResNet18, 60 patches).
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, 1 << 30)
    mallopt(_TRIM_THRESHOLD, 0x7FFFFFFF)
    mallopt(_MMAP_MAX, 0)
    mallopt(_ARENA_MAX, 1)  # what other threads free is handed back whatever the threshold, unless it is in the first


def depthwise_in_float32(module: nn.Module) -> None:
    """Exempt grouped convolutions from autocast, in place.

    PyTorch's backward pass of a strided depthwise convolution in bfloat16 takes about 40 ms on a CPU, whatever its
    size: EfficientNet-Lite0 as a whole was 1.8 times slower in bfloat16 than in float32, and is faster so. Names of
    parameters stay the same.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups > 1 and not isinstance(layer, _Float32):
            layer.__class__ = _in_float32(type(layer))


class _Float32(nn.Module):
    """Goes before a layer's own class."""

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            outputs: Tensor = super().forward(inputs.float())  # of the layer's own class
        return outputs


def _in_float32(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    return type(f"Float32{kind.__name__}", (_Float32, kind), {})
