"""The two ways to train that are compared, each timed over one epoch at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import models
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor

from benchmarks import clock
from trainer.fitting.finetune import TrainingImages, train
from trainer.fitting.hardware import Hardware
from trainer.fitting.patch_sampler import PatchSampler
from trainer.options import THESIS, FitOptions
from trainer.schemas import Epoch

_FACTORIES = {
    "alexnet": models.alexnet,
    "resnet18": models.resnet18,
    "shufflenet_v2": models.shufflenet_v2_x1_0,
    "squeezenet": models.squeezenet1_1,
}

THESIS_OUTPUTS = 1000
"""Its networks kept ImageNet's, for two classes."""


@dataclass(frozen=True)
class Turn:
    """One timed epoch."""

    patches: int
    seconds: float

    @property
    def rate(self) -> float:
        """Patches per second."""
        return self.patches / self.seconds


class Way(Protocol):
    """A way to train a network."""

    def turn(self) -> Turn:
        """Warm up, then train for one timed epoch."""
        ...


class ThesisWay:
    """Patch files, `ImageFolder`, `DataLoader`, float32: the loop of PyTorch's tutorials, its defaults untouched.

    So no pinned memory, no channels-last memory, no mixed precision, and cuDNN as PyTorch sets it up. The thesis does
    not tell its batch size: it gets ours.
    """

    def __init__(self, folder: Path, network: str, *, device: str, batch_size: int, workers: int) -> None:
        """Make the network, which is not timed.

        Args:
            folder: Patch files, in a folder for each class.
            network: Of the registry.
            device: Where the network is trained.
            batch_size: Patches in one step.
            workers: Processes that load files.
        """
        self._device, self._batch_size = device, batch_size
        torch.manual_seed(0)
        self._module: nn.Module = _FACTORIES[network](num_classes=THESIS_OUTPUTS).to(device).train()
        self._optimiser = torch.optim.SGD(
            self._module.parameters(), lr=THESIS.learning_rate, momentum=0.9, weight_decay=THESIS.weight_decay
        )
        self._files = ImageFolder(str(folder), ToTensor())
        self._loader = DataLoader(self._files, batch_size=batch_size, shuffle=True, num_workers=workers)

    def turn(self) -> Turn:
        """One epoch over all files, after one step to warm up.

        The clock starts when the first batch is there: starting the workers, and what they load ahead meanwhile, is a
        present to the thesis.
        """
        example, _ = self._files[0]
        self._step(example.repeat(self._batch_size, 1, 1, 1), torch.zeros(self._batch_size, dtype=torch.int64))
        batches = iter(self._loader)
        images, labels = next(batches)
        started = clock.read(self._device)
        self._step(images, labels)
        for images, labels in batches:
            self._step(images, labels)
        return Turn(len(self._files), clock.read(self._device) - started)

    def _step(self, images: Tensor, labels: Tensor) -> None:
        images, labels = images.to(self._device), labels.to(self._device)
        self._optimiser.zero_grad()
        functional.cross_entropy(self._module(images), labels).backward()
        self._optimiser.step()


@dataclass(frozen=True)
class OurWay:
    """`trainer.fitting.finetune.train` itself: images are bytes on the device, where patches are cut and prepared.

    Attributes:
        sampler: The images.
        labels: Class numbers of the images.
        options: How to train; the epochs are ours to choose.
        hardware: On what.
        held_out: So many images, the last ones, are scored after each epoch instead of trained on.
    """

    sampler: PatchSampler
    labels: NDArray[np.int64]
    options: FitOptions
    hardware: Hardware
    held_out: int = 0

    def turn(self) -> Turn:
        """The second epoch of a training: the first warms up, and compiles where that is asked for."""
        ends: list[float] = []
        self._two_epochs(lambda _: ends.append(clock.read(self.hardware.device)))
        return Turn(self._patches, ends[1] - ends[0])

    def parts(self) -> dict[str, float]:
        """Seconds of one epoch by `clock.PARTS`, in an epoch of its own: to look costs time."""
        watch = clock.Stopwatch(self.hardware.device)

        def end(epoch: Epoch) -> None:
            if epoch.number == 1:
                watch.forget()
            else:
                watch.lap("rest")

        with watch.watching():
            self._two_epochs(end)
        return watch.seconds

    @property
    def _trained(self) -> int:
        return len(self.labels) - self.held_out

    @property
    def _patches(self) -> int:
        """Of one epoch: whole batches."""
        return -(-self.options.draws * self._trained // self.options.batch_size) * self.options.batch_size

    def _two_epochs(self, watch: Callable[[Epoch], None]) -> None:
        everything = np.arange(len(self.labels))
        index, held_out = everything[: self._trained], everything[self._trained :]
        images = TrainingImages(index, self.labels, np.ones(index.size), held_out)
        train(self.sampler, images, self.options.replace(epochs=2, patience=2), self.hardware, watch=watch)
