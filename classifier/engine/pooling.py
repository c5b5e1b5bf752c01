"""Max pooling in bfloat16 on a CPU, without conversion to float32."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class MaxPoolOfPositive(nn.Module):
    """Max pooling of numbers that are not negative, such as the outputs of a ReLU.

    Such numbers have the same order as their bit patterns, so bfloat16 values are compared as 16-bit integers, first
    along rows, then along columns. PyTorch's own pooling converts every value to float32 and records the place of each
    maximum. The result is identical to the last bit.
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        """Copy the parameters of a layer for which `can_replace` is true."""
        super().__init__()
        self._kernel, self._stride, self._padding = (_pair(of) for of in (pool.kernel_size, pool.stride, pool.padding))

    @staticmethod
    def can_replace(pool: nn.MaxPool2d) -> bool:
        """Return whether a layer has no unsupported option, and padding that is less than half its kernel."""
        inside = all(2 * pad < reach for pad, reach in zip(_pair(pool.padding), _pair(pool.kernel_size), strict=True))
        return inside and not pool.ceil_mode and not pool.return_indices and _pair(pool.dilation) == (1, 1)

    def forward(self, batch: Tensor) -> Tensor:
        """Pool a batch of shape (N, channels, height, width)."""
        channels_last = batch.is_contiguous(memory_format=torch.channels_last)
        if batch.dtype != torch.bfloat16 or batch.device.type != "cpu" or not channels_last:
            return functional.max_pool2d(batch, self._kernel, self._stride, self._padding)
        bits = batch.view(torch.int16).permute(0, 2, 3, 1)
        for axis in (0, 1):
            bits = self._along(axis, bits)
        return bits.permute(0, 3, 1, 2).view(torch.bfloat16)

    def _along(self, axis: int, bits: Tensor) -> Tensor:
        """Return the maxima over windows of rows or of columns, for shape (N, height, width, channels)."""
        kernel, stride, padding = self._kernel[axis], self._stride[axis], self._padding[axis]
        length = bits.shape[1 + axis]
        windows = (length + 2 * padding - kernel) // stride + 1

        def part(of: Tensor, start: int, count: int, step: int) -> Tensor:
            places = slice(start, start + (count - 1) * step + 1, step)
            return of[:, places] if axis == 0 else of[:, :, places]

        result = part(bits, 0, windows, stride).clone(memory_format=torch.contiguous_format)
        for offset in range(-padding, kernel - padding):
            first = -(min(offset, 0) // stride)
            last = min(windows - 1, (length - 1 - offset) // stride)
            if offset and last >= first:
                among = part(result, first, last - first + 1, 1)
                torch.maximum(among, part(bits, offset + first * stride, last - first + 1, stride), out=among)
        return result


def _pair(of: int | tuple[int, ...]) -> tuple[int, int]:
    return (of, of) if isinstance(of, int) else cast("tuple[int, int]", tuple(of))
