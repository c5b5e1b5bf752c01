"""All cores at work on one batch, each with patches of its own.

PyTorch splits each layer of a network over the cores and waits for all of them before the next layer: a core that the
web server uses meanwhile holds up the others, dozens of times in a forward pass. Here each core takes a few patches
through the whole network and then the next few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, pairwise
from threading import Barrier

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST_PATCHES = 8
"""In one go of one core: more do not fit into its cache, and fewer use its arithmetic less well."""

_GOES = 2
"""Of each core at the least, if there are patches enough: a core that is used otherwise leaves some to the others."""


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

    def each(self, work: Callable[[range], Tensor], patches: int, at_once: int) -> Iterator[Tensor]:
        """Let the cores work on patches 0, 1, 2, …, a few at a time.

        Args:
            work: Called in several threads at once, with the numbers of the patches.
            patches: How many there are.
            at_once: How many may be in memory at once, in all threads together; one each at the least.

        Returns:
            What `work` gives, in the order of the patches; the cores have begun. What was not begun is dropped when the
            caller stops half way.
        """
        count = self._goes(patches, at_once)
        # The larger goes first: the cores come to the end with the smaller ones, and more nearly at once.
        goes = (patches // count + (number < patches % count) for number in range(count))
        ends = [0, *accumulate(goes)]
        return _results([self._pool.submit(work, range(start, end)) for start, end in pairwise(ends)])

    def _goes(self, patches: int, at_once: int) -> int:
        """In how many goes patches are taken, alike in size.

        As many as the cores or a multiple, so that all cores end at about the same time.
        """
        most = max(1, min(MOST_PATCHES, at_once // self._count))
        rounds = max(_GOES, math.ceil(patches / (self._count * most)))
        return min(patches, self._count * rounds)


def _results(waiting: Sequence[Future[Tensor]]) -> Iterator[Tensor]:
    try:
        for done in waiting:
            yield done.result()
    finally:
        for rest in waiting:
            rest.cancel()
