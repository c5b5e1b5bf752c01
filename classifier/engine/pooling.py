"""Max pooling in bfloat16 on a CPU, without a detour over float32."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


class MaxPoolOfPositive(nn.Module):
    """Max pooling of numbers that are not negative, as an activation leaves them.

    Such numbers have the order of their bits, so in bfloat16 they are compared as 16 bit integers, lines first and
    columns then. PyTorch's own pooling converts each to float32 and notes where each maximum was. The result is the
    same to the bit.
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        """Do what a layer does for which `can_replace` is true."""
        super().__init__()
        self._kernel, self._stride, self._padding = (_pair(of) for of in (pool.kernel_size, pool.stride, pool.padding))

    @staticmethod
    def can_replace(pool: nn.MaxPool2d) -> bool:
        """Whether each window has a pixel of the image where it would begin without padding."""
        inside = all(2 * pad < reach for pad, reach in zip(_pair(pool.padding), _pair(pool.kernel_size), strict=True))
        return inside and not pool.ceil_mode and not pool.return_indices and _pair(pool.dilation) == (1, 1)

    def forward(self, batch: Tensor) -> Tensor:
        """From (N, channels, height, width)."""
        lines_first = batch.is_contiguous(memory_format=torch.channels_last)
        if batch.dtype != torch.bfloat16 or batch.device.type != "cpu" or not lines_first:
            return functional.max_pool2d(batch, self._kernel, self._stride, self._padding)
        bits = batch.view(torch.int16).permute(0, 2, 3, 1)
        for axis in (0, 1):
            bits = self._along(axis, bits)
        return bits.permute(0, 3, 1, 2).view(torch.bfloat16)

    def _along(self, axis: int, bits: Tensor) -> Tensor:
        """Maxima over windows of lines or of columns, from (N, height, width, channels)."""
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
