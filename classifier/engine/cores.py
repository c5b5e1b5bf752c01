"""All cores at work on one batch, each with patches of its own.

PyTorch splits each layer of a network over the cores and waits for all of them before the next layer: a core that the
web server uses meanwhile holds up the others, dozens of times in a forward pass. Here each core takes a few patches
through the whole network and then the next few.
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

MOST_PATCHES = 8
"""In one go of one core: more do not fit into its cache, and fewer use its arithmetic less well."""

_LEAST_PATCHES = 2
"""In one go, but the last."""

_SHARES = 2
"""What is left is divided into so many shares for each core, and one share is the next go: a core that is used for
something else leaves some to the others."""


class Cores:
    """As many threads as PyTorch would use for a layer; it uses one for each layer within them."""

    def __init__(self) -> None:
        """Start the threads."""
        self._count = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="forward")
        started = Barrier(self._count)

        def start() -> None:
            torch.get_num_threads()  # once in each thread PyTorch sets its own number: not after ours
            torch.set_num_threads(1)  # of this thread, and of those that begin later
            started.wait()

        for thread in [self._pool.submit(start) for _ in range(self._count)]:
            thread.result()
        torch.set_num_threads(self._count)

    @staticmethod
    def send(image: NDArray[np.uint8]) -> Tensor:
        """An image where it is computed: it is there."""
        return torch.from_numpy(image)

    def each(self, work: Callable[[range], Tensor], patches: int, at_once: int) -> Results:
        """Let the cores work on patches 0, 1, 2, …, a few at a time.

        Args:
            work: Called in several threads at once, with the numbers of the patches.
            patches: How many there are.
            at_once: How many may be in memory at once, in all threads together; one each at the least.

        Returns:
            What `work` gives, in the order of the patches; the cores have begun, or will once they have done what they
            were given before. What was not begun is dropped when this is closed.
        """
        most = max(1, min(MOST_PATCHES, at_once // self._count))
        return Results([self._pool.submit(work, go) for go in self._goes(patches, most)])

    def _goes(self, patches: int, most: int) -> Iterator[range]:
        """Smaller goes towards the end, as in OpenMP's guided schedule: so all cores end at about the same time."""
        start = 0
        while start < patches:
            share = math.ceil((patches - start) / (_SHARES * self._count))
            end = min(patches, start + min(most, max(_LEAST_PATCHES, share)))
            yield range(start, end)
            start = end


class Results(Iterator[Tensor]):
    """What goes give, in their order."""

    def __init__(self, goes: Iterable[Future[Tensor]]) -> None:
        """Wait for goes that cores have been given."""
        self._goes = deque(goes)

    def __next__(self) -> Tensor:
        """The result of the next go; if it failed, the rest is dropped."""
        if not self._goes:
            raise StopIteration
        try:
            return self._goes.popleft().result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop what no core has begun."""
        while self._goes:
            self._goes.popleft().cancel()
