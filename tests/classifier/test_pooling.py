"""The same maxima, to the bit."""

import itertools

import pytest
import torch
from torch import nn

from classifier.engine.pooling import MaxPoolOfPositive

LAYERS = [
    nn.MaxPool2d(kernel, stride, padding)
    for kernel, stride, padding in itertools.product((1, 2, 3, 5), (1, 2, 3), (0, 1, 2))
    if 2 * padding < kernel
]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("pool", [*LAYERS, nn.MaxPool2d((3, 2), (2, 1), (1, 0))], ids=str)
def test_equals_pytorchs_own(pool: nn.MaxPool2d, layout: torch.memory_format, dtype: torch.dtype) -> None:
    assert MaxPoolOfPositive.can_replace(pool)
    for height, width in ((5, 5), (12, 9), (113, 7)):
        batch = torch.randn(2, 3, height, width).relu().to(dtype).contiguous(memory_format=layout)
        batch[0, 0, 1, 1] = torch.inf
        given = batch.clone()
        found = MaxPoolOfPositive(pool)(batch)
        assert found.dtype == dtype
        assert torch.equal(found, pool(batch))
        assert torch.equal(batch, given)  # the layer before may have other users


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2, 2, 1),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.MaxPool2d(3, 2, dilation=2),
        nn.MaxPool2d(3, 2, return_indices=True),
    ],
    ids=str,
)
def test_what_it_cannot_do_is_left_alone(pool: nn.MaxPool2d) -> None:
    assert not MaxPoolOfPositive.can_replace(pool)
