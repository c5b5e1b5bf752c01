"""The two ways of training that are compared, each timed over one epoch."""

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
"""The number of outputs of the thesis's networks, which kept ImageNet's for two classes."""


@dataclass(frozen=True)
class Turn:
    """A timed epoch."""

    patches: int
    seconds: float

    @property
    def rate(self) -> float:
        """The number of patches per second."""
        return self.patches / self.seconds


class Way(Protocol):
    """A way of training a network."""

    def turn(self) -> Turn:
        """Warm up, then train for one timed epoch."""
        ...


class ThesisWay:
    """Patch files, `ImageFolder`, `DataLoader`, float32: the loop of PyTorch's tutorials, its defaults untouched.

    There is no pinned memory, no channels-last memory, no mixed precision, and cuDNN has PyTorch's settings. The thesis
    does not state its batch size, so ours is used.
    """

    def __init__(self, folder: Path, network: str, *, device: str, batch_size: int, workers: int) -> None:
        """Create the network, which is not timed.

        Args:
            folder: The patch files, in a folder for each class.
            network: A network of the registry.
            device: The device of the training.
            batch_size: The number of patches per step.
            workers: The number of processes that load files.
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
        """Time one epoch over all files, after a warm-up step.

        The clock starts when the first batch is loaded: the start of the workers and their prefetching are not counted,
        in favour of the thesis.
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
        sampler: The source of patches.
        labels: The class indices of the images.
        options: The options of the training, except the number of epochs.
        hardware: The device and precision.
        held_out: The number of last images that validate each epoch instead of being trained on.
    """

    sampler: PatchSampler
    labels: NDArray[np.int64]
    options: FitOptions
    hardware: Hardware
    held_out: int = 0

    def turn(self) -> Turn:
        """Time the second epoch of a training; the first one warms up and compiles."""
        ends: list[float] = []
        self._two_epochs(lambda _: ends.append(clock.read(self.hardware.device)))
        return Turn(self._patches, ends[1] - ends[0])

    def parts(self) -> dict[str, float]:
        """Return the seconds of the parts of an epoch, from a separate epoch, because measuring costs time."""
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
        """The number of patches in an epoch of whole batches."""
        return -(-self.options.draws * self._trained // self.options.batch_size) * self.options.batch_size

    def _two_epochs(self, watch: Callable[[Epoch], None]) -> None:
        everything = np.arange(len(self.labels))
        index, held_out = everything[: self._trained], everything[self._trained :]
        images = TrainingImages(index, self.labels, np.ones(index.size), held_out)
        train(self.sampler, images, self.options.replace(epochs=2, patience=2), self.hardware, watch=watch)
