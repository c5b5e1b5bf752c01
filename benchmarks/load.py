"""Many images through a predictor, and how long the GPU computes meanwhile."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import clock
from benchmarks.forward import PATCH
from classifier.decode import decode
from classifier.predictor import Predictor

PATCHES = 15
_AT_ONCE = {"cuda": 64}
"""Images that the predictor gets at once; elsewhere two."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Load:
    """What a predictor has to do.

    Attributes:
        predictor: Of a network that cuts an image into 15 patches.
        images: How many.
        decoders: Threads that decode files.
    """

    predictor: Predictor
    images: int
    decoders: int

    def decoded(self, pixels: Sequence[Pixels]) -> dict[str, Any]:
        """Patches per second from decoded images, again and again the same."""
        return self._measure(lambda count: itertools.islice(itertools.cycle(pixels), count))

    def files(self, files: Sequence[bytes]) -> dict[str, Any]:
        """Patches per second from files, which threads decode while the predictor works."""
        with ThreadPoolExecutor(self.decoders) as pool:
            return self._measure(
                lambda count: _ahead(
                    pool, itertools.islice(itertools.cycle(files), count), 2 * self._at_once + self.decoders
                )
            )

    @property
    def _device(self) -> torch.device:
        return self.predictor.engine.device

    @property
    def _at_once(self) -> int:
        return min(self.images, _AT_ONCE.get(self._device.type, 2))

    def _measure(self, source: Callable[[int], Iterable[Pixels]]) -> dict[str, Any]:
        """The GPU's own seconds come from a second pass: to look at it slows what feeds it."""
        self._work(source(self._at_once))  # warms up
        began = clock.read(str(self._device))
        self._work(source(self.images))
        seconds = clock.read(str(self._device)) - began
        busy = self._busy(source) if self._device.type == "cuda" else None
        return {
            "patches_per_second": self.images * PATCHES / seconds,
            "seconds": seconds,
            "busy_seconds": busy,
            "waits": None if busy is None else max(0.0, 1 - busy / seconds),
        }

    def _work(self, images: Iterable[Pixels]) -> None:
        left = iter(images)
        while batch := list(itertools.islice(left, self._at_once)):
            self.predictor.predict(batch)

    def _busy(self, source: Callable[[int], Iterable[Pixels]]) -> float:
        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            self._work(source(self.images))
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


def _ahead(pool: ThreadPoolExecutor, files: Iterable[bytes], ahead: int) -> Iterator[Pixels]:
    """Decoded images in order, so many at the most before they are asked for."""
    waiting: deque[Future[Pixels]] = deque()
    for file in files:
        waiting.append(pool.submit(_pixels, file))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _pixels(file: bytes) -> Pixels:
    return decode(file).pixels
