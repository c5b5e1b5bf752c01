"""Many images through a predictor, and how long the GPU computes meanwhile."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import clock
from benchmarks.forward import PATCH
from classifier.decode import decode
from classifier.predictor import Predictor

PATCHES = 15
_IN_A_GO = 4
"""Images that a process decodes before it hands them over: one costs more, many lie there before the clock starts."""
_AT_ONCE = {"cuda": 64}
"""Images that the predictor gets at once; elsewhere two."""

_WARM_UP = 4
"""Times as many before the clock starts: what lay decoded while the GPU got ready is used up by then."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Load:
    """What a predictor has to do.

    Attributes:
        predictor: Of a network that cuts an image into 15 patches.
        images: How many.
        decoders: Processes that decode files.
    """

    predictor: Predictor
    images: int
    decoders: int

    def decoded(self, pixels: Sequence[Pixels]) -> dict[str, Any]:
        """Patches per second from decoded images, again and again the same."""
        return self._measure(itertools.cycle(pixels))

    def files(self, files: Sequence[bytes]) -> dict[str, Any]:
        """Patches per second from files, again and again the same, which processes decode as web servers do."""
        decoding: DataLoader[Any] = DataLoader(
            _Files(files), _IN_A_GO, num_workers=self.decoders, collate_fn=_together, multiprocessing_context="spawn"
        )
        return self._measure(image for images in decoding for image in images.numpy())

    @property
    def _device(self) -> torch.device:
        return self.predictor.engine.device

    @property
    def _at_once(self) -> int:
        return min(self.images, _AT_ONCE.get(self._device.type, 2))

    def _measure(self, images: Iterator[Pixels]) -> dict[str, Any]:
        """The GPU's own seconds come from a second pass: to look at it slows what feeds it."""
        self._work(images, _WARM_UP * self._at_once)
        began = clock.read(str(self._device))
        self._work(images, self.images)
        seconds = clock.read(str(self._device)) - began
        busy = self._busy(images) if self._device.type == "cuda" else None
        return {
            "patches_per_second": self.images * PATCHES / seconds,
            "seconds": seconds,
            "busy_seconds": busy,
            "waits": None if busy is None else max(0.0, 1 - busy / seconds),
        }

    def _work(self, images: Iterator[Pixels], count: int) -> None:
        some = itertools.islice(images, count)
        while batch := list(itertools.islice(some, self._at_once)):
            self.predictor.predict(batch)

    def _busy(self, images: Iterator[Pixels]) -> float:
        with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as profiled:
            self._work(images, self.images)
            torch.cuda.synchronize(self._device)
        events = profiled.events() or ()
        return (
            covered(
                (event.time_range.start, event.time_range.end)
                for event in events
                if event.device_type == DeviceType.CUDA
            )
            / 1e6
        )


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The length that spans cover together, where they overlap once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def flops(module: nn.Module) -> int:
    """Floating-point operations for one patch."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(torch.zeros(1, 3, PATCH, PATCH))
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class _Files(Dataset[Pixels]):
    """Images without end, decoded when they are asked for."""

    files: Sequence[bytes]

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, number: int) -> Pixels:
        return decode(self.files[number % len(self.files)]).pixels


def _together(images: Sequence[Pixels]) -> Tensor:
    """Images of one size, in memory that other processes see."""
    return torch.from_numpy(np.stack(images))
