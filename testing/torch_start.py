"""The first training step of a process."""

from __future__ import annotations

import functools


@functools.cache
def first_step() -> None:
    """Do one training step: PyTorch imports its compiler then, which takes seconds that no test should be charged."""
    import torch

    layer = torch.nn.Linear(1, 1)
    optimiser = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 1)).sum().backward()
    optimiser.step()
