"""Processes that decode image files, as web servers do, and leave the pixels where another process finds them."""

from __future__ import annotations

import itertools
import mmap
import os
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from classifier.imaging.decode import decode

Pixels = NDArray[np.uint8]

_MEMORY = "/dev/shm"
_AHEAD = 4
"""Images for each process that may lie decoded beside those that are kept."""
_SECONDS_TO_START = 120


class _Signals(NamedTuple):
    """Places that may be written, places that may be read, and the common beginning."""

    free: SimpleQueue[int]
    ready: SimpleQueue[int]
    started: Barrier


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
    shape = (kept + _AHEAD * processes, *decode(files[0]).pixels.shape)
    context = get_context("spawn")  # forked after a GPU was used, a process may hang
    signals = _Signals(
        context.SimpleQueue(), context.SimpleQueue(), context.Barrier(processes + 1, timeout=_SECONDS_TO_START)
    )
    with tempfile.TemporaryDirectory(dir=_MEMORY, prefix="patchvote-decoding-") as name:
        folder = Path(name)
        for number, file in enumerate(files):
            (folder / f"{number}.png").write_bytes(file)
        places = _places(folder, shape)
        workers = [
            context.Process(target=_decode, args=(folder, first, shape, signals), daemon=True)
            for first in range(processes)
        ]
        try:
            for worker in workers:
                worker.start()
            signals.started.wait()
            yield _taken(places, signals, kept)
        finally:
            for worker in workers:
                worker.kill()
                worker.join()


def _decode(folder: Path, first: int, shape: tuple[int, ...], signals: _Signals) -> None:
    """What each process does until it is killed."""
    files = [path.read_bytes() for path in folder.glob("*.png")]
    places = _places(folder, shape)
    signals.started.wait()
    for number in itertools.count(first):
        pixels = decode(files[number % len(files)]).pixels
        place = signals.free.get()
        places[place] = pixels
        signals.ready.put(place)


def _taken(places: Pixels, signals: _Signals, kept: int) -> Iterator[Pixels]:
    for place in range(len(places)):
        signals.free.put(place)
    taken: deque[int] = deque()
    while True:
        if len(taken) > kept:
            signals.free.put(taken.popleft())
        taken.append(signals.ready.get())
        yield places[taken[-1]]


def _places(folder: Path, shape: tuple[int, ...]) -> Pixels:
    """Memory that processes share, all of it there at once: not page by page while the clock runs."""
    size = int(np.prod(shape))
    with (folder / "pixels").open("a+b") as file:
        os.posix_fallocate(file.fileno(), 0, size)  # an error now where there is too little of it
        memory = mmap.mmap(file.fileno(), size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    return np.frombuffer(memory, np.uint8).reshape(shape)
