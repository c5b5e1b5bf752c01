"""Train a whole network end to end, from ImageNet weights or from scratch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from classifier import networks
from trainer.evaluation.out_of_fold import Watcher, patch_metrics
from trainer.fitting import cpu
from trainer.fitting.augment import augment
from trainer.fitting.checkpoints import Checkpoint
from trainer.fitting.hardware import Hardware
from trainer.fitting.patch_sampler import PatchSampler
from trainer.fitting.scoring import logits_of_images
from trainer.options import FitOptions
from trainer.schemas import Epoch, PatchMetrics

_MOMENTUM = 0.9


@dataclass(frozen=True)
class TrainingImages:
    """The images of a sampler that a training uses.

    Attributes:
        index: The training images, as indices into the sampler, of shape (images,).
        labels: The class indices of all images of the sampler.
        weights: The relative frequency with which each image of `index` is drawn, of shape (images,).
        validation: The validation images, of other patients, as indices into the sampler; may be empty.
        classes: The number of classes.
    """

    index: NDArray[np.intp]
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]
    validation: NDArray[np.intp]
    classes: int = 2


def train(
    sampler: PatchSampler,
    images: TrainingImages,
    options: FitOptions,
    hardware: Hardware,
    *,
    stop_after: int | None = None,
    checkpoint: Checkpoint | None = None,
    watch: Watcher | None = None,
) -> tuple[nn.Module, list[Epoch]]:
    """Train a network; on a CPU, the same seed, machine and library versions give bit-identical weights.

    With validation images, training stops after `options.patience` epochs without a lower validation loss, and the
    weights of the best epoch are restored.

    Args:
        sampler: The source of patches.
        images: The training and validation images.
        options: The options of the training.
        hardware: The device and precision.
        stop_after: The number of epochs to train, within the learning rate schedule of `options.epochs`; None for all.
        checkpoint: Stores the state after each epoch; an interrupted training resumes from it.
        watch: Called with each epoch, also with those before an interruption.

    Returns:
        The network on the sampler's device, in evaluation mode, and the metrics of each epoch.

    Raises:
        WeightsUnavailableError: If the ImageNet weights are needed and not available.
        FloatingPointError: If the loss is not finite.
    """
    checkpoint = checkpoint or Checkpoint(None)
    with _seeded(options.seed, sampler.device):
        training = _Training(sampler, images, options, hardware)
        history = training.resume(checkpoint)
        for epoch in history:
            _notify(watch, epoch)
        while len(history) < (stop_after or options.epochs) and not _finished(history, options.patience):
            history.append(training.epoch(len(history) + 1, history))
            checkpoint.save(training.state(history))
            _notify(watch, history[-1])
        return training.best(), history


def best_epoch(history: Sequence[Epoch]) -> int:
    """Return the number of the epoch with the lowest validation loss; the last epoch if there is no validation."""
    stopping = [epoch.stopping_loss for epoch in history if epoch.stopping_loss is not None]
    return stopping.index(min(stopping)) + 1 if stopping else len(history)


def _notify(watch: Watcher | None, epoch: Epoch) -> None:
    if watch is not None:
        watch(epoch)


def _finished(history: Sequence[Epoch], patience: int) -> bool:
    return bool(history) and len(history) - best_epoch(history) >= patience


class _Training:
    """Network, optimiser, schedule, sampling, and the moving average of the weights."""

    def __init__(self, sampler: PatchSampler, images: TrainingImages, options: FitOptions, hardware: Hardware) -> None:
        self._sampler, self._images, self._options, self._hardware = sampler, images, options, hardware
        self._module = networks.create(
            options.network, classes=images.classes, weights="imagenet" if options.pretrained else None
        )
        self._module.to(sampler.device).to(memory_format=torch.channels_last)
        if hardware.kind == "cpu":
            cpu.keep_freed_memory()
            if hardware.precision == "bfloat16":
                cpu.depthwise_in_float32(self._module)
        self._average = _average(self._module, options.ema) if options.ema else None
        if hardware.compiled:
            self._module.compile()
        self._normalisation = networks.spec(options.network).normalisation
        self._random = torch.Generator().manual_seed(options.seed)
        self._steps = max(1, math.ceil(options.draws * len(images.index) / options.batch_size))
        self._optimiser = _optimiser(_rates(self._module, options), options)
        horizon = self._steps * options.epochs
        self._schedule: torch.optim.lr_scheduler.LRScheduler = (
            torch.optim.lr_scheduler.CosineAnnealingLR(self._optimiser, horizon)
            if options.schedule == "cosine"
            else torch.optim.lr_scheduler.ConstantLR(self._optimiser, factor=1)
        )
        self._best: dict[str, Tensor] | None = None

    @property
    def _kept(self) -> nn.Module:
        """The network that is validated and kept: the moving average if there is one."""
        return self._module if self._average is None else self._average.module

    def epoch(self, number: int, before: Sequence[Epoch]) -> Epoch:
        """Train for one epoch, then validate."""
        self._module.train()
        steps = [self._step() for _ in range(self._steps)]
        losses, right = torch.stack([loss for loss, _ in steps]), torch.cat([right for _, right in steps])
        if not bool(torch.isfinite(losses).all()):
            raise FloatingPointError(
                f"The loss of {self._options.network} is no longer finite in epoch {number}. Choose a lower "
                f"learning rate than {self._options.learning_rate:g}."
            )
        self._module.eval()
        training = PatchMetrics(accuracy=float(right.double().mean()), loss=float(losses.double().mean()))
        validation, stopping = self._validate()
        epoch = Epoch(number=number, training=training, validation=validation, stopping_loss=stopping)
        if best_epoch([*before, epoch]) == number:
            self._best = {name: tensor.detach().clone() for name, tensor in self._kept.state_dict().items()}
        return epoch

    def best(self) -> nn.Module:
        """Return the network with the weights of the best epoch."""
        if self._best is not None:
            self._module.load_state_dict(self._best)
        return self._module.eval()

    def state(self, history: Sequence[Epoch]) -> dict[str, Any]:
        """Return everything that the next epochs depend on."""
        return {
            "module": self._module.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "best": self._best,
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "sampling": self._random.get_state(),
            "dropout": torch.get_rng_state(),
            "dropout_cuda": torch.cuda.get_rng_state(self._sampler.device)
            if self._sampler.device.type == "cuda"
            else None,
            "history": [epoch.model_dump() for epoch in history],
        }

    def resume(self, checkpoint: Checkpoint) -> list[Epoch]:
        """Restore the state of the checkpoint and return its epochs; return an empty list if there is none."""
        kept = checkpoint.load()
        if kept is None:
            return []
        self._module.load_state_dict(kept["module"])
        if self._average is not None:
            self._average.load_state_dict(kept["average"])
        self._best = {name: tensor.to(self._sampler.device) for name, tensor in kept["best"].items()}
        self._optimiser.load_state_dict(kept["optimiser"])
        self._schedule.load_state_dict(kept["schedule"])
        self._random.set_state(kept["sampling"])
        torch.set_rng_state(kept["dropout"])
        if kept["dropout_cuda"] is not None:
            torch.cuda.set_rng_state(kept["dropout_cuda"], self._sampler.device)
        return [Epoch.model_validate(epoch) for epoch in kept["history"]]

    def _step(self) -> tuple[Tensor, Tensor]:
        """Train on one batch; return its loss, and whether each patch was classified correctly."""
        options, device = self._options, self._sampler.device
        weights = torch.from_numpy(self._images.weights)
        picked = torch.multinomial(weights, options.batch_size, replacement=True, generator=self._random)
        chosen = torch.from_numpy(self._images.index)[picked]
        labels = torch.from_numpy(self._images.labels)[chosen].to(device)
        patches = self._sampler.draw(chosen, self._random, anywhere=options.anywhere)
        patches = augment(patches, self._random, rotate=options.turn, stain=options.stain)
        inputs = self._normalisation.apply(patches).contiguous(memory_format=torch.channels_last)
        with self._hardware.autocast():
            logits = self._module(inputs)
        loss = functional.cross_entropy(logits.float(), labels)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._schedule.step()
        if self._average is not None:
            self._average.update_parameters(self._module)
        return loss.detach(), logits.detach().argmax(dim=1) == labels

    def _validate(self) -> tuple[PatchMetrics | None, float | None]:
        """Return the metrics of the validation patches, and the class-balanced loss of their images' mean logits."""
        index, labels = self._images.validation, self._images.labels
        if not index.size:
            return None, None
        logits = logits_of_images([self._kept], self._sampler, index.tolist(), self._options, self._hardware)
        metrics = patch_metrics(np.concatenate(logits), np.repeat(labels[index], [len(part) for part in logits]))
        means = torch.from_numpy(np.stack([part.mean(axis=0) for part in logits]))
        losses = functional.cross_entropy(means, torch.from_numpy(labels[index]), reduction="none").numpy()
        return metrics, float(np.mean([losses[labels[index] == label].mean() for label in np.unique(labels[index])]))


def _average(module: nn.Module, decay: float) -> AveragedModel:
    """Return a moving average of a network that follows faster at first, so that the initial weights do not persist."""

    def approach(averaged: Sequence[Tensor], current: Sequence[Tensor], _count: Tensor | int) -> None:
        count = int(average.n_averaged)  # on the CPU; reading `_count` would wait for a GPU
        share = 1 - min(decay, (1 + count) / (10 + count))
        with torch.no_grad():
            for mean, now in zip(averaged, current, strict=True):
                if mean.is_floating_point():
                    mean.lerp_(now, share)
                else:
                    mean.copy_(now)

    average = AveragedModel(module, multi_avg_fn=approach, use_buffers=True)
    average.eval()
    return average


def _optimiser(rates: list[dict[str, object]], options: FitOptions) -> torch.optim.Optimizer:
    if options.optimiser == "sgd":
        return torch.optim.SGD(rates, momentum=_MOMENTUM, weight_decay=options.weight_decay)
    return torch.optim.AdamW(rates, weight_decay=options.weight_decay)


def _rates(module: nn.Module, options: FitOptions) -> list[dict[str, object]]:
    """Return parameter groups: the head at the full learning rate, a pretrained backbone at a share of it."""
    head = list(networks.head(module, options.network).parameters())
    in_head = {id(parameter) for parameter in head}
    backbone = [parameter for parameter in module.parameters() if id(parameter) not in in_head]
    rate = options.learning_rate * (options.backbone_rate if options.pretrained else 1)
    return [{"params": head, "lr": options.learning_rate}, {"params": backbone, "lr": rate}]


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch and make it deterministic inside the block; restore its random state afterwards."""
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        yield
