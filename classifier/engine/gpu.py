"""Forward passes on a GPU: each batch starts before the previous one ends, so that the GPU does not wait for Python."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

logger = logging.getLogger(__name__)

BUSY_BATCH = 240
"""Number of patches that keeps a large GPU busy: smaller batches use it less well, and with larger ones the GPU waits
longer for the first batch."""


class Gpu:
    """One GPU, which computes batches in the order in which they are queued.

    Attributes:
        max_batch: The maximum number of patches per batch; None until the GPU has run out of memory.
    """

    def __init__(self, device: torch.device) -> None:
        """Store a PyTorch device that computes asynchronously."""
        self._device = device
        self.max_batch: int | None = None

    def send(self, image: NDArray[np.uint8]) -> Tensor:
        """Queue the copy of an image to the device and return its tensor there, without waiting for the copy."""
        if self._device.type != "cuda":
            return torch.from_numpy(image).to(self._device)
        pinned = torch.empty(image.shape, dtype=torch.uint8, pin_memory=True)
        # In one thread: PyTorch's own copy uses a thread per core and waits for busy cores.
        np.copyto(pinned.numpy(), image)
        return pinned.to(self._device, non_blocking=True)

    def map(self, work: Callable[[range], Tensor], patches: int, max_in_memory: int) -> Generator[Tensor]:
        """Compute patches 0, 1, 2, … on the GPU, in batches.

        Args:
            work: Queues the computation of the patches with the given numbers.
            patches: The number of patches.
            max_in_memory: The maximum number of patches in memory at the same time.

        Returns:
            The results of `work`, on the CPU, in the order of the patches; the first batch is queued before this
            method returns.

        Raises:
            torch.OutOfMemoryError: If a single patch does not fit into the device's memory.
        """
        queued = self._queue(work, patches, max_in_memory)
        return _one_behind(next(queued, None), queued)

    def _queue(self, work: Callable[[range], Tensor], patches: int, max_in_memory: int) -> Iterator[_Pending]:
        done = 0
        while done < patches:
            batch = range(done, min(done + self._batch_size(patches, max_in_memory), patches))
            try:
                computed = work(batch)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                self.max_batch = len(batch) // 2
                logger.warning(
                    "the device is out of memory: batches have at most %d patches from now on", self.max_batch
                )
                torch.cuda.empty_cache()
                continue
            yield _Pending(computed)
            done = batch.stop

    def _batch_size(self, patches: int, max_in_memory: int) -> int:
        """Return a size that gives batches of equal size, and several of them if there are enough patches."""
        largest = min(max_in_memory, self.max_batch or max_in_memory)
        return math.ceil(patches / max(math.ceil(patches / largest), patches // BUSY_BATCH))


class _Pending:
    """A result that the GPU has not computed yet."""

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


def _one_behind(current: _Pending | None, queued: Iterator[_Pending]) -> Generator[Tensor]:
    """Yield each result after the next batch has been queued."""
    while current:
        following = next(queued, None)
        yield current.wait()
        current = following
