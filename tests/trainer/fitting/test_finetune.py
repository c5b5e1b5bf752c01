"""Training end to end: it learns, it is repeatable, it stops, and it gives back the best weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from classifier import networks
from classifier.grid import PatchGrid
from trainer.fitting import cpu, finetune
from trainer.fitting.checkpoints import Checkpoint
from trainer.fitting.finetune import TrainingImages, best_epoch, train
from trainer.fitting.hardware import Hardware
from trainer.fitting.patch_sampler import PatchSampler
from trainer.fitting.scoring import logits_of_images
from trainer.options import FitOptions
from trainer.schemas import Epoch

pytestmark = pytest.mark.usefixtures("torch_started")

GRID = PatchGrid(size=64, stride=64)
OPTIONS = FitOptions(
    network="shufflenet_v2", mode="scratch", grid=GRID, ema=0,
    epochs=2, draws=6, batch_size=16, learning_rate=3e-3, seed=1,
)  # fmt: skip

LEARNS = OPTIONS.replace(network="resnet18", epochs=4, draws=3, batch_size=8)
"""A network that learns within a few steps, which ShuffleNet does not."""


def sampler() -> PatchSampler:
    """Twelve images, the malignant ones darker."""
    random = np.random.default_rng(0)
    pixels = [
        (random.integers(0, 40, (96, 128, 3)) + (30 if number % 2 else 180)).astype(np.uint8) for number in range(12)
    ]
    return PatchSampler(pixels, GRID, "cpu")


LABELS = np.arange(12) % 2
CPU = Hardware("cpu")
TRAINING = TrainingImages(np.arange(8), LABELS, np.ones(8), validation=np.arange(8, 12))
UNSTOPPED = replace(TRAINING, validation=np.array([], dtype=np.intp))


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return module.state_dict()


@pytest.mark.parametrize("ema", [0, 0.9])
@pytest.mark.slow
def test_it_learns(ema: float) -> None:
    images, options = sampler(), LEARNS.replace(ema=ema)
    module, history = train(images, TRAINING, options, CPU)
    assert not module.training
    assert history[-1].training.loss < history[0].training.loss
    assert history[-1].training.accuracy > 0.8
    means = np.array([patches.mean(axis=0) for patches in logits_of_images([module], images, range(12), options, CPU)])
    margins = means[:, 1] - means[:, 0]
    assert min(margins[LABELS == 1]) > max(margins[LABELS == 0])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_leaves_pytorchs_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, history = train(sampler(), TRAINING, OPTIONS, CPU)
    assert torch.equal(torch.rand(3), expected)
    second, again = train(sampler(), TRAINING, OPTIONS, CPU)
    assert history == again
    assert same(first, second)
    other, _ = train(sampler(), TRAINING, OPTIONS.replace(seed=2), CPU)
    assert not torch.equal(weights(first)["fc.weight"], weights(other)["fc.weight"])


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values(), strict=True))


def test_it_stops_early_and_gives_back_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.9, 0.4, 0.6, 0.5, 0.1])
    seen: list[torch.Tensor] = []

    def score(modules: Sequence[torch.nn.Module], _pool: Any, index: Sequence[int], *_: Any) -> list[np.ndarray]:
        """Return logits of one patch per image whose cross entropy is the next loss."""
        seen.append(weights(modules[0])["fc.weight"].clone())
        margin = -np.log(np.expm1(next(losses)))
        return [margin * np.eye(2)[LABELS[[image]]] for image in index]

    monkeypatch.setattr(finetune, "logits_of_images", score)
    module, history = train(sampler(), TRAINING, OPTIONS.replace(epochs=5, patience=2, draws=2), CPU)
    assert [epoch.stopping_loss for epoch in history] == pytest.approx([0.9, 0.4, 0.6, 0.5])
    assert best_epoch(history) == 2
    assert torch.equal(weights(module)["fc.weight"], seen[1])
    assert not torch.equal(seen[1], seen[3])


def test_without_validation_it_runs_as_long_as_it_is_told() -> None:
    _, history = train(sampler(), UNSTOPPED, OPTIONS.replace(draws=2), CPU, stop_after=2)
    assert [epoch.number for epoch in history] == [1, 2]
    assert all(epoch.validation is None and epoch.stopping_loss is None for epoch in history)
    assert best_epoch(history) == 2


class KilledError(Exception):
    """Stands for the death of the process."""


@pytest.mark.parametrize(
    "changes",
    [
        {"network": "squeezenet", "ema": 0.9},  # dropout draws from PyTorch's own generator
        {"optimiser": "sgd", "schedule": "constant"},
        {"patience": 1},
    ],
)
@pytest.mark.parametrize("after", [1, 2])
def test_a_training_that_was_killed_ends_as_if_it_had_not_been(
    changes: dict[str, Any], after: int, tmp_path: Path
) -> None:
    options = OPTIONS.replace(epochs=4, draws=2, **changes)
    expected, history = train(sampler(), TRAINING, options, CPU)
    path = tmp_path / "state.pt"

    def die(epoch: Epoch) -> None:
        if epoch.number == after:
            raise KilledError

    with pytest.raises(KilledError):
        train(sampler(), TRAINING, options, CPU, checkpoint=Checkpoint(path, options), watch=die)
    told: list[int] = []
    resumed, again = train(
        sampler(), TRAINING, options, CPU,
        checkpoint=Checkpoint(path, options), watch=lambda epoch: told.append(epoch.number),
    )  # fmt: skip
    assert again == history
    assert told == [epoch.number for epoch in history]
    assert same(expected, resumed)


def test_a_state_of_another_training_or_a_damaged_one_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    train(sampler(), TRAINING, OPTIONS.replace(draws=1, epochs=1), CPU, checkpoint=Checkpoint(path, "this"))
    assert Checkpoint(path, "this").load() is not None
    assert Checkpoint(path, "that").load() is None
    whole = path.read_bytes()
    for damaged in (whole[:1000], b"", b"garbage that is no archive", bytes(2000)):
        path.write_bytes(damaged)
        assert Checkpoint(path, "this").load() is None


def test_a_loss_that_is_no_number_ends_the_training_with_a_sentence() -> None:
    options = OPTIONS.replace(learning_rate=1e30, optimiser="sgd", epochs=3)
    with pytest.raises(FloatingPointError, match="Choose a lower learning rate"):
        train(sampler(), TRAINING, options, CPU)


def test_mirrored_variants_and_networks_are_averaged() -> None:
    images = sampler()
    modules = [networks.create("resnet18") for _ in range(2)]
    flipped = OPTIONS.replace(test_time_flips=True)
    [both] = logits_of_images(modules, images, [0], flipped, CPU)
    alone = [logits_of_images([module], images, [0], flipped, CPU)[0] for module in modules]
    np.testing.assert_allclose(both, np.mean(alone, axis=0), atol=1e-5)
    assert not np.allclose(alone[0], logits_of_images(modules[:1], images, [0], OPTIONS, CPU)[0])


def test_images_of_any_size_are_scored_together_as_alone() -> None:
    random = np.random.default_rng(1)
    sizes = [(96, 128), (64, 64), (400, 700), (96, 128), (70, 300)]
    images = PatchSampler([random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes], GRID, "cpu")
    modules = [networks.create("resnet18")]
    order = [3, 0, 2, 4, 1]
    together = logits_of_images(modules, images, order, OPTIONS, CPU)
    for image, patches in zip(order, together, strict=True):
        assert len(patches) == len(GRID.boxes(width=sizes[image][1], height=sizes[image][0]))
        [alone] = logits_of_images(modules, images, [image], OPTIONS, CPU)
        np.testing.assert_allclose(patches, alone, atol=1e-4)


def test_patches_of_images_of_any_size_are_drawn_from_their_own() -> None:
    sizes = [(96, 128), (64, 64), (96, 128)]
    images = PatchSampler([np.full((*size, 3), number, np.uint8) for number, size in enumerate(sizes)], GRID, "cpu")
    chosen = torch.tensor([2, 0, 1, 1, 2])
    for anywhere in (True, False):
        drawn = images.draw(chosen, torch.Generator().manual_seed(0), anywhere=anywhere)
        assert [patch.unique().tolist() for patch in drawn] == [[2], [0], [1], [1], [2]]


@pytest.mark.parametrize("network", ["shufflenet_v2", "efficientnet_lite0"])
def test_depthwise_convolutions_keep_float32_and_their_names(network: str) -> None:
    torch.manual_seed(0)
    module = networks.create(network)
    expected, batch = module(torch.ones(2, 3, 64, 64)), torch.ones(2, 3, 64, 64)
    names = list(module.state_dict())
    cpu.depthwise_in_float32(module)
    cpu.depthwise_in_float32(module)
    assert list(module.state_dict()) == names
    torch.testing.assert_close(module(batch), expected)
    seen: list[torch.dtype] = []
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.groups > 1:
            layer.register_forward_hook(lambda _layer, _inputs, output: seen.append(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        copy.deepcopy(module)(batch)
    assert seen and set(seen) == {torch.float32}


@pytest.mark.slow
def test_bfloat16_learns_too() -> None:
    images, options = sampler(), LEARNS
    _, history = train(images, TRAINING, options, Hardware("cpu", "bfloat16"))
    assert history[-1].training.accuracy > 0.8


def test_patches_can_be_drawn_from_the_grid_alone() -> None:
    ramp = np.zeros((128, 192, 3), np.uint8)
    ramp[:, :, 0], ramp[:, :, 1] = np.arange(128)[:, None], np.arange(192)
    images = PatchSampler([ramp], GRID, "cpu")
    zeros = torch.zeros(60, dtype=torch.int64)
    drawn = images.draw(zeros, torch.Generator().manual_seed(0), anywhere=False)
    assert {(int(p[0, 0, 0]), int(p[1, 0, 0])) for p in drawn} == {(y, x) for y in (0, 64) for x in (0, 64, 128)}


def test_images_are_drawn_by_weight() -> None:
    images = sampler()
    chosen = torch.tensor([0, 3, 3])
    drawn = images.draw(chosen, torch.Generator().manual_seed(0))
    assert drawn.shape == (3, 3, 64, 64)
    assert drawn.dtype == torch.uint8
    assert drawn[0].min() >= 180
    assert drawn[1].max() < 80
    assert not torch.equal(drawn[1], drawn[2])  # from different places


def test_every_pixel_of_an_image_can_be_drawn() -> None:
    ramp = np.zeros((66, 67, 3), np.uint8)
    ramp[:, :, 0], ramp[:, :, 1] = np.arange(66)[:, None], np.arange(67)
    images = PatchSampler([ramp], GRID, "cpu")
    drawn = images.draw(torch.zeros(300, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert {(int(p[0, 0, 0]), int(p[1, 0, 0])) for p in drawn} == {(y, x) for y in range(3) for x in range(4)}


def test_a_pretrained_backbone_learns_slower_than_its_head() -> None:
    module = networks.create("resnet18")
    groups = finetune._rates(module, OPTIONS.replace(mode="finetune"))
    assert [group["lr"] for group in groups] == [3e-3, pytest.approx(3e-4)]
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))  # type: ignore[misc, arg-type]
    assert [group["lr"] for group in finetune._rates(module, OPTIONS)] == [3e-3, 3e-3]
