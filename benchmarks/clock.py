"""Clocks that wait for the device, and a stopwatch for the parts of a training step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from classifier.imaging.normalisation import Normalisation
from trainer.fitting import finetune
from trainer.fitting.patch_sampler import PatchSampler

PARTS = ("draw", "augment", "normalise", "network", "step", "rest")
"""The parts of an epoch: `network` is forward, loss and backward; `rest` is image selection, labels, and the end of an
epoch."""


def read(device: str) -> float:
    """Wait until the device has finished its queue and return the time in seconds."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Stopwatch:
    """A stopwatch that sums the seconds of each part of the training steps that run inside it.

    Between the parts it reads the clock and, on a GPU, waits for the device: a measured training is slightly slower.

    Attributes:
        seconds: The seconds by part.
    """

    def __init__(self, device: str) -> None:
        """Measure trainings on a device."""
        self._device = device
        self.forget()

    def forget(self) -> None:
        """Reset the sums."""
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._since = read(self._device)

    def lap(self, part: str) -> None:
        """Add the time since the last lap to a part."""
        now = read(self._device)
        self.seconds[part] += now - self._since
        self._since = now

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Patch the functions that `trainer.fitting.finetune` calls."""
        with ExitStack() as stack:
            for owner, name, part in (
                (PatchSampler, "draw", "draw"),
                (finetune, "augment", "augment"),
                (Normalisation, "apply", "normalise"),
            ):
                stack.enter_context(mock.patch.object(owner, name, self._lapped(getattr(owner, name), part)))
            for hook in (
                register_optimizer_step_pre_hook(lambda *_: self.lap("network")),
                register_optimizer_step_post_hook(lambda *_: self.lap("step")),
            ):
                stack.callback(hook.remove)
            yield

    def _lapped(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def lapped(*arguments: Any, **options: Any) -> Any:
            self.lap("rest")
            try:
                return function(*arguments, **options)
            finally:
                self.lap(part)

        return lapped
