"""Settings that make networks faster on a CPU and do not change their outputs."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor, nn

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -3, -1, -4, -8
"""The parameters of glibc's mallopt."""


@functools.cache
def keep_freed_memory() -> None:
    """Make the allocator of this process keep freed memory instead of returning it to the system (glibc only).

    Each training step and each forward pass allocates and frees the same large tensors. Returning them to the system
    and faulting their pages in again took a tenth (ResNet18) to a third (AlexNet) of a step, and a sixth of a forward
    pass (ResNet18, 60 patches).
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, 1 << 30)
    mallopt(_TRIM_THRESHOLD, 0x7FFFFFFF)
    mallopt(_MMAP_MAX, 0)
    mallopt(_ARENA_MAX, 1)  # memory that other threads free stays only in the main arena


def depthwise_in_float32(module: nn.Module) -> None:
    """Exempt grouped convolutions from autocast, in place.

    PyTorch's backward pass of a strided depthwise convolution in bfloat16 takes about 40 ms on a CPU, whatever its
    size: EfficientNet-Lite0 was 1.8 times slower in bfloat16 than in float32; with this exemption it is faster. The
    names of parameters do not change.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups > 1 and not isinstance(layer, _Float32):
            layer.__class__ = _in_float32(type(layer))


class _Float32(nn.Module):
    """A mix-in that runs a layer's forward pass in float32."""

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            outputs: Tensor = super().forward(inputs.float())  # the layer's own forward pass
        return outputs


def _in_float32(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    return type(f"Float32{kind.__name__}", (_Float32, kind), {})
