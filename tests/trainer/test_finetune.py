"""Training end to end: it learns, it is repeatable, it stops, and it gives back the best weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from classifier.grid import PatchGrid
from trainer import finetune
from trainer.finetune import PatchPool, TrainingImages, best_epoch, patch_logits, train
from trainer.options import FitOptions

GRID = PatchGrid(size=64, stride=64)
OPTIONS = FitOptions(
    network="resnet18", mode="finetune", pretrained=False, grid=GRID,
    epochs=2, draws=6, batch_size=16, learning_rate=3e-3, seed=1,
)  # fmt: skip


def pool() -> PatchPool:
    """Twelve images, the malignant ones darker."""
    random = np.random.default_rng(0)
    pixels = [
        (random.integers(0, 40, (96, 128, 3)) + (30 if number % 2 else 180)).astype(np.uint8) for number in range(12)
    ]
    return PatchPool(pixels, GRID, "cpu")


LABELS = np.arange(12) % 2
TRAINING = TrainingImages(np.arange(8), LABELS, np.ones(8))
VALIDATION = np.arange(8, 12)


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return module.state_dict()


def test_it_learns() -> None:
    images = pool()
    module, history = train(images, TRAINING, OPTIONS.model_copy(update={"epochs": 4}), validation=VALIDATION)
    assert not module.training
    assert history[-1].training_loss < history[0].training_loss
    means = [patch_logits(module, images, image, OPTIONS).mean() for image in range(12)]
    assert min(np.array(means)[LABELS == 1]) > max(np.array(means)[LABELS == 0])


def test_the_same_seed_gives_the_same_weights_and_leaves_pytorchs_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, history = train(pool(), TRAINING, OPTIONS, validation=VALIDATION)
    assert torch.equal(torch.rand(3), expected)
    second, again = train(pool(), TRAINING, OPTIONS, validation=VALIDATION)
    assert history == again
    assert all(torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values(), strict=True))
    other, _ = train(pool(), TRAINING, OPTIONS.model_copy(update={"seed": 2}), validation=VALIDATION)
    assert not torch.equal(weights(first)["fc.weight"], weights(other)["fc.weight"])


def test_it_stops_early_and_gives_back_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.9, 0.4, 0.6, 0.5, 0.1])
    seen: list[torch.Tensor] = []

    def scripted(module: torch.nn.Module, *_: object) -> float:
        seen.append(weights(module)["fc.weight"].clone())
        return next(losses)

    monkeypatch.setattr(finetune, "validation_loss", scripted)
    options = OPTIONS.model_copy(update={"epochs": 5, "patience": 2, "draws": 2})
    module, history = train(pool(), TRAINING, options, validation=VALIDATION)
    assert [epoch.validation_loss for epoch in history] == [0.9, 0.4, 0.6, 0.5]
    assert best_epoch(history) == 2
    assert torch.equal(weights(module)["fc.weight"], seen[1])
    assert not torch.equal(seen[1], seen[3])


def test_without_validation_it_runs_as_long_as_it_is_told() -> None:
    _, history = train(pool(), TRAINING, OPTIONS.model_copy(update={"draws": 2}), stop_after=2)
    assert [epoch.number for epoch in history] == [1, 2]
    assert all(np.isnan(epoch.validation_loss) for epoch in history)


def test_images_are_drawn_by_weight() -> None:
    images = pool()
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
    images = PatchPool([ramp], GRID, "cpu")
    drawn = images.draw(torch.zeros(300, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert {(int(p[0, 0, 0]), int(p[1, 0, 0])) for p in drawn} == {(y, x) for y in range(3) for x in range(4)}


def test_a_pretrained_backbone_learns_slower_than_its_head() -> None:
    from classifier import networks

    module = networks.create("resnet18")
    groups = finetune._rates(module, OPTIONS.model_copy(update={"pretrained": True}))
    assert [group["lr"] for group in groups] == [3e-3, pytest.approx(3e-4)]
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))  # type: ignore[misc, arg-type]
    assert [group["lr"] for group in finetune._rates(module, OPTIONS)] == [3e-3, 3e-3]
