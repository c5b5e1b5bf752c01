"""The throughput of a predictor for many images, and the time that the GPU computes."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import clock
from benchmarks.decoding import Pixels, decoding
from benchmarks.forward import PATCH
from classifier.predictor import Pass, Predictor

PATCHES = 15
_AT_ONCE = {"cuda": 64}
"""The number of images per pass by type of device; two on others."""

_WARM_UP = 4
"""The number of passes before the clock starts: they use up the images that were decoded while the GPU started."""


@dataclass(frozen=True)
class Load:
    """The work of a predictor.

    Attributes:
        predictor: A predictor that cuts an image into 15 patches.
        images: The number of images.
        decoders: The number of processes that decode files.
    """

    predictor: Predictor
    images: int
    decoders: int

    def decoded(self, pixels: Sequence[Pixels]) -> dict[str, Any]:
        """Return patches per second from decoded images."""
        return self._measure(itertools.cycle(pixels))

    def files(self, files: Sequence[bytes]) -> dict[str, Any]:
        """Return patches per second from files that processes decode, as web servers do."""
        with decoding(files, self.decoders, kept=2 * self._at_once) as images:
            return self._measure(images)

    def only_decoded(self, files: Sequence[bytes]) -> float:
        """Return patches per second of decoding alone, with all cores free."""
        with decoding(files, self.decoders, kept=0) as images:
            self._drop(images, _WARM_UP * self._at_once)
            began = time.perf_counter()
            self._drop(images, self.images)
            return self.images * PATCHES / (time.perf_counter() - began)

    @property
    def _device(self) -> torch.device:
        return self.predictor.engine.device

    @property
    def _at_once(self) -> int:
        return min(self.images, _AT_ONCE.get(self._device.type, 2))

    def _measure(self, images: Iterator[Pixels]) -> dict[str, Any]:
        """Return the rate, and the GPU's busy time from a second pass, because profiling slows the first."""
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
        """Predict images in passes; each pass starts before the previous one is awaited, as in a worker."""
        some = itertools.islice(images, count)
        before: Pass | None = None
        while batch := list(itertools.islice(some, self._at_once)):
            after = self.predictor.start(batch)
            if before:
                before.predictions()
            before = after
        if before:
            before.predictions()

    @staticmethod
    def _drop(images: Iterator[Pixels], count: int) -> None:
        deque(itertools.islice(images, count), maxlen=0)

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
    """Return the total length of the union of spans."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def flops(module: nn.Module) -> int:
    """Return the number of floating-point operations for one patch."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(torch.zeros(1, 3, PATCH, PATCH))
    return int(counter.get_total_flops())
