"""Training a whole network end to end, from ImageNet weights or from scratch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from classifier import networks
from classifier.grid import PatchGrid
from classifier.patches import cut
from trainer.augment import augment
from trainer.options import FitOptions

_WEIGHT_DECAY = 1e-2
_BACKBONE_RATE = 0.1
_PATCHES_AT_ONCE = {"cpu": 60, "cuda": 960}


class PatchPool:
    """Images held in memory as bytes, from which patches are drawn.

    Attributes:
        device: Where the images lie and the network runs.
    """

    def __init__(self, pixels: Sequence[NDArray[np.uint8]], grid: PatchGrid, device: str) -> None:
        """Take images, each RGB of shape (height, width, 3)."""
        self.device = torch.device(device)
        self.grid = grid
        self._images = [torch.from_numpy(np.array(image)).to(self.device) for image in pixels]

    def draw(self, chosen: Tensor, random: torch.Generator) -> Tensor:
        """One patch of each chosen image from anywhere in it: uint8, of shape (chosen, 3, side, side)."""
        side = self.grid.size
        patches = []
        for index, across, down in zip(chosen.tolist(), *torch.rand(2, len(chosen), generator=random), strict=True):
            image = self._images[index]
            y = int(down * (image.shape[0] - side + 1))
            x = int(across * (image.shape[1] - side + 1))
            patches.append(image[y : y + side, x : x + side])
        return torch.stack(patches).permute(0, 3, 1, 2)

    def grid_patches(self, index: int) -> Tensor:
        """All patches of one image: uint8, of shape (patches, 3, side, side)."""
        image = self._images[index]
        return cut(image, self.grid.boxes(width=image.shape[1], height=image.shape[0]))


@dataclass(frozen=True)
class Epoch:
    """The numbers of one epoch, counted from 1; the validation loss is NaN without validation images."""

    number: int
    training_loss: float
    validation_loss: float


@dataclass(frozen=True)
class TrainingImages:
    """Which images of a pool are trained on, and how often.

    Attributes:
        index: Into the pool, of shape (images,).
        labels: Of all the pool's images, 1 for malignant.
        weights: How often each of `index` is drawn, relative to the others.
    """

    index: NDArray[np.intp]
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]


def train(
    pool: PatchPool,
    images: TrainingImages,
    options: FitOptions,
    *,
    validation: NDArray[np.intp] | None = None,
    stop_after: int | None = None,
    progress: bool = False,
) -> tuple[nn.Module, list[Epoch]]:
    """Train a network; the same seed, device and library versions give the same weights.

    With validation images, training stops when their loss has not fallen for `options.patience` epochs, and the
    weights of the best epoch are restored.

    Args:
        pool: Holds the images.
        images: Which of them to train on.
        options: Network, rates, epochs, seed.
        validation: Indices into the pool, of other patients than those trained on.
        stop_after: Stop after so many epochs, with the learning rate as it is there.
        progress: Show a progress bar.

    Returns:
        The network on the pool's device, in evaluation mode, and the numbers of each epoch.

    Raises:
        WeightsUnavailableError: If ImageNet weights were asked for and cannot be had.
    """
    with _seeded(options.seed, pool.device):
        module = networks.create(options.network, weights="imagenet" if options.pretrained else None)
        module.to(pool.device).to(memory_format=torch.channels_last)
        loop = _Loop(module, pool, images, options)
        best_loss, best_state, history = math.inf, None, []
        for number in tqdm(range(1, (stop_after or options.epochs) + 1), "Epochs", disable=not progress, leave=False):
            training_loss = loop.epoch()
            loss = math.nan if validation is None else validation_loss(module, pool, validation, images.labels, options)
            history.append(Epoch(number, training_loss, loss))
            if validation is None:
                continue
            if loss < best_loss:
                best_loss, best_state = loss, {k: v.detach().clone() for k, v in module.state_dict().items()}
            elif number - best_epoch(history) >= options.patience:
                break
        if best_state is not None:
            module.load_state_dict(best_state)
    return module.eval(), history


def best_epoch(history: Sequence[Epoch]) -> int:
    """The number of the epoch with the lowest validation loss."""
    return min(history, key=lambda epoch: epoch.validation_loss).number


def validation_loss(
    module: nn.Module, pool: PatchPool, index: NDArray[np.intp], labels: NDArray[np.int64], options: FitOptions
) -> float:
    """Log loss of the images' mean logits, both classes weighing the same."""
    means = torch.tensor([float(patch_logits(module, pool, int(i), options).mean()) for i in index])
    truth = torch.from_numpy(labels[index]).float()
    losses = functional.binary_cross_entropy_with_logits(means, truth, reduction="none")
    present = [losses[truth == label].mean() for label in (0, 1) if (truth == label).any()]
    return float(torch.stack(present).mean())


@torch.inference_mode()
def patch_logits(module: nn.Module, pool: PatchPool, index: int, options: FitOptions) -> NDArray[np.float64]:
    """Malignant minus benign logit of each patch of one image."""
    module.eval()
    normalisation = networks.spec(options.network).normalisation
    parts = []
    for patches in torch.split(pool.grid_patches(index), _PATCHES_AT_ONCE.get(pool.device.type, 60)):
        logits = module(normalisation.apply(patches).contiguous(memory_format=torch.channels_last))
        parts.append((logits[:, 1] - logits[:, 0]).double().cpu().numpy())
    return np.concatenate(parts)


class _Loop:
    """Optimiser, schedule and sampling of one training."""

    def __init__(self, module: nn.Module, pool: PatchPool, images: TrainingImages, options: FitOptions) -> None:
        self._module, self._pool, self._images, self._options = module, pool, images, options
        self._normalisation = networks.spec(options.network).normalisation
        self._random = torch.Generator().manual_seed(options.seed)
        self._steps = max(1, math.ceil(options.draws * len(images.index) / options.batch_size))
        self._optimiser = torch.optim.AdamW(_rates(module, options), weight_decay=_WEIGHT_DECAY)
        total = self._steps * options.epochs
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimiser, total)

    def epoch(self) -> float:
        """One epoch; the mean loss of its steps."""
        self._module.train()
        losses = [self._step() for _ in range(self._steps)]
        return float(torch.stack(losses).mean())

    def _step(self) -> Tensor:
        weights = torch.from_numpy(self._images.weights)
        picked = torch.multinomial(weights, self._options.batch_size, replacement=True, generator=self._random)
        chosen = torch.from_numpy(self._images.index)[picked]
        labels = torch.from_numpy(self._images.labels)[chosen].to(self._pool.device)
        patches = augment(self._pool.draw(chosen, self._random), self._random)
        inputs = self._normalisation.apply(patches).contiguous(memory_format=torch.channels_last)
        on_gpu = self._pool.device.type == "cuda"
        with torch.autocast(self._pool.device.type, dtype=torch.bfloat16, enabled=on_gpu):
            logits = self._module(inputs)
        loss = functional.cross_entropy(logits.float(), labels)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._schedule.step()
        return loss.detach()


def _rates(module: nn.Module, options: FitOptions) -> list[dict[str, object]]:
    """The head at the full learning rate, a pretrained backbone at a tenth of it."""
    head = list(networks.head(module, options.network).parameters())
    ours = {id(parameter) for parameter in head}
    backbone = [parameter for parameter in module.parameters() if id(parameter) not in ours]
    rate = options.learning_rate * (_BACKBONE_RATE if options.pretrained else 1)
    return [{"params": head, "lr": options.learning_rate}, {"params": backbone, "lr": rate}]


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeded and repeatable inside; PyTorch's own random state is as before afterwards."""
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        yield
