"""Variants of patches stay patches."""

from __future__ import annotations

import numpy as np
import torch

from trainer.fitting.augment import augment, jitter_stain, rotate_and_mirror
from trainer.synthetic.dataset import sample


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def patches(count: int = 64, side: int = 16) -> torch.Tensor:
    tissue = np.array(sample("malignant", 0, (side, side)))
    return torch.from_numpy(tissue).permute(2, 0, 1).expand(count, 3, side, side)


def test_all_eight_symmetries_occur_and_no_other() -> None:
    one = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 2, 2)
    expected = {torch.rot90(p, k, dims=(2, 3)).numpy().tobytes() for p in (one, one.flip(3)) for k in range(4)}
    found = {turned.numpy().tobytes() for turned in rotate_and_mirror(one.expand(200, 3, 2, 2), generator()).split(1)}
    assert found == expected


def test_stains_change_and_stay_near() -> None:
    before = patches().float()
    after = jitter_stain(patches(), generator())
    assert after.dtype == torch.float32
    assert after.min() >= 0
    assert after.max() <= 255
    difference = (after - before).abs().mean(dim=(1, 2, 3))
    assert 1 < difference.mean() < 40
    assert difference.std() > 0.5


def test_the_generator_decides() -> None:
    torch.testing.assert_close(augment(patches(), generator(1)), augment(patches(), generator(1)))
    assert not torch.equal(augment(patches(), generator(1)), augment(patches(), generator(2)))
    untouched = patches().clone()
    augment(untouched, generator())
    assert torch.equal(untouched, patches())
