"""Forward passes on a CPU that divide a batch by patches, not by layers.

PyTorch splits each layer of a network over the cores and waits for all of them before the next layer: a core that the
web server uses meanwhile delays the others dozens of times in a forward pass. Here each core takes a few patches
through the whole network, then the next few.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_CHUNK = 8
"""The maximum number of patches in a chunk, the unit of work of one core: more do not fit into its cache, and fewer use
its vector units less well."""

_MIN_CHUNK = 2
"""The minimum number of patches in every chunk but the last."""

_CHUNKS_PER_CORE = 2
"""The next chunk is the remaining patches divided by this number and by the number of cores, so that other cores take
over the patches of a core that another process uses."""


class Cores:
    """A pool of as many threads as PyTorch would use for a layer; within them, PyTorch uses one thread per layer."""

    def __init__(self) -> None:
        """Start the threads."""
        self._count = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="forward")
        started = Barrier(self._count)

        def start() -> None:
            torch.get_num_threads()  # PyTorch sets its default once per thread; afterwards ours stays
            torch.set_num_threads(1)  # for this thread, and for threads that start later
            started.wait()

        for thread in [self._pool.submit(start) for _ in range(self._count)]:
            thread.result()
        torch.set_num_threads(self._count)

    @staticmethod
    def send(image: NDArray[np.uint8]) -> Tensor:
        """Return an image as a tensor on the CPU, without a copy."""
        return torch.from_numpy(image)

    def map(self, work: Callable[[range], Tensor], patches: int, max_in_memory: int) -> Results:
        """Compute patches 0, 1, 2, … on all cores, in chunks.

        Args:
            work: Computes the patches with the given numbers; called in several threads at the same time.
            patches: The number of patches.
            max_in_memory: The maximum number of patches in memory in all threads together; at least one per thread.

        Returns:
            The results of `work` in the order of the patches. The threads start as soon as they have finished earlier
            work. Closing the iterator drops the chunks that no thread has started.
        """
        largest = max(1, min(MAX_CHUNK, max_in_memory // self._count))
        return Results([self._pool.submit(work, chunk) for chunk in self._chunks(patches, largest)])

    def _chunks(self, patches: int, largest: int) -> Iterator[range]:
        """Yield chunks that shrink towards the end, as in OpenMP's guided schedule, so that all cores end together."""
        start = 0
        while start < patches:
            share = math.ceil((patches - start) / (_CHUNKS_PER_CORE * self._count))
            end = min(patches, start + min(largest, max(_MIN_CHUNK, share)))
            yield range(start, end)
            start = end


class Results(Iterator[Tensor]):
    """The results of chunks, in order."""

    def __init__(self, chunks: Iterable[Future[Tensor]]) -> None:
        """Store the futures of the chunks."""
        self._chunks = deque(chunks)

    def __next__(self) -> Tensor:
        """Wait for the next chunk and return its result; if it failed, drop the rest."""
        if not self._chunks:
            raise StopIteration
        try:
            return self._chunks.popleft().result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the chunks that no thread has started."""
        while self._chunks:
            self._chunks.popleft().cancel()
