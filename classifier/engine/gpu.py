"""Batches of patches on a GPU, each begun before the one before it is done: the GPU need not wait for Python."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

logger = logging.getLogger(__name__)

FULL = 240
"""Patches that keep a large GPU busy: fewer use it less well, and of more the first has to wait until all are sent."""


class Gpu:
    """One GPU, which computes in the order in which it is told.

    Attributes:
        most: Patches in one batch at the most, once its memory was found to be too small for more.
    """

    def __init__(self, device: torch.device) -> None:
        """Take a device of PyTorch's that computes on its own."""
        self._device = device
        self.most: int | None = None

    def send(self, image: NDArray[np.uint8]) -> Tensor:
        """An image on the device, for what is computed there next: nobody waits until it has come."""
        if self._device.type != "cuda":
            return torch.from_numpy(image).to(self._device)
        pinned = torch.empty(image.shape, dtype=torch.uint8, pin_memory=True)
        np.copyto(pinned.numpy(), image)  # PyTorch's own copy takes a thread of each core, and waits for busy ones
        return pinned.to(self._device, non_blocking=True)

    def each(self, work: Callable[[range], Tensor], patches: int, at_once: int) -> Generator[Tensor]:
        """Let the GPU work on patches 0, 1, 2, …, a batch at a time.

        Args:
            work: Tells the GPU to compute, given the numbers of the patches.
            patches: How many there are.
            at_once: How many may be in memory at once.

        Returns:
            What `work` gives, on the CPU, in the order of the patches; the first batch has been begun.

        Raises:
            torch.OutOfMemoryError: If one patch alone is too much for the device's memory.
        """
        coming = self._begin(work, patches, at_once)
        return _one_behind(next(coming, None), coming)

    def _begin(self, work: Callable[[range], Tensor], patches: int, at_once: int) -> Iterator[_Coming]:
        done = 0
        while done < patches:
            batch = range(done, min(done + self._size(patches, at_once), patches))
            try:
                computed = work(batch)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                self.most = len(batch) // 2
                logger.warning("the device's memory is too small, batches of %d patches from now on", self.most)
                torch.cuda.empty_cache()
                continue
            yield _Coming(computed)
            done = batch.stop

    def _size(self, patches: int, at_once: int) -> int:
        """Of batches: equal ones, and several where there are patches enough."""
        most = min(at_once, self.most or at_once)
        return math.ceil(patches / max(math.ceil(patches / most), patches // FULL))


class _Coming:
    """A result that the GPU will have computed some day."""

    def __init__(self, computed: Tensor) -> None:
        self._result = torch.empty(computed.shape, dtype=computed.dtype, pin_memory=computed.is_cuda)
        self._result.copy_(computed, non_blocking=computed.is_cuda)
        self._done: torch.cuda.Event | None = None
        if computed.is_cuda:
            self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._done.record(torch.cuda.current_stream(computed.device))

    def wait(self) -> Tensor:
        if self._done:
            self._done.synchronize()
        return self._result


def _one_behind(before: _Coming | None, coming: Iterator[_Coming]) -> Generator[Tensor]:
    """Each result, once the one after it has been begun."""
    while before:
        after = next(coming, None)
        yield before.wait()
        before = after
