"""Processes that decode image files, as web servers do, and leave the pixels where another process finds them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.queues import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.multiprocessing import get_context

from classifier.decode import decode

Pixels = NDArray[np.uint8]

_AHEAD = 4
"""Images that each process may have decoded before somebody asks for them."""


@contextmanager
def decoding(files: Sequence[bytes], processes: int, kept: int) -> Iterator[Iterator[Pixels]]:
    """Decode files, again and again the same, in so many processes.

    Args:
        files: Of images of one size.
        processes: How many.
        kept: An image may be overwritten once so many more were taken after it.

    Returns:
        The pixels, without end and in no order. They lie in memory that is used again and again: to get fresh memory
        from the system costs a good part of what decoding does.
    """
    count = kept + _AHEAD * processes
    places = torch.empty((count, *decode(files[0]).pixels.shape), dtype=torch.uint8).share_memory_()
    context = get_context("spawn")  # forked after a GPU was used, a process may hang
    free: SimpleQueue[int] = context.SimpleQueue()
    ready: SimpleQueue[int] = context.SimpleQueue()
    workers = [
        context.Process(target=_decode, args=(files, first, places, free, ready), daemon=True)
        for first in range(processes)
    ]
    try:
        for worker in workers:
            worker.start()
        yield _taken(places, free, ready, kept)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _decode(
    files: Sequence[bytes], first: int, places: Tensor, free: SimpleQueue[int], ready: SimpleQueue[int]
) -> None:
    """What each process does until it is killed."""
    for number in itertools.count(first):
        pixels = decode(files[number % len(files)]).pixels
        place = free.get()
        places[place].numpy()[:] = pixels
        ready.put(place)


def _taken(places: Tensor, free: SimpleQueue[int], ready: SimpleQueue[int], kept: int) -> Iterator[Pixels]:
    for place in range(len(places)):
        free.put(place)
    taken: deque[int] = deque()
    while True:
        if len(taken) > kept:
            free.put(taken.popleft())
        taken.append(ready.get())
        yield places[taken[-1]].numpy()
