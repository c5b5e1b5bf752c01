"""Processes that decode image files, as web servers do, into shared memory."""

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
"""The number of decoded images per process beyond those that are kept."""
_SECONDS_TO_START = 120


class _Signals(NamedTuple):
    """Queues of writable and readable slots, and the barrier of the common start."""

    free: SimpleQueue[int]
    ready: SimpleQueue[int]
    started: Barrier


@contextmanager
def decoding(files: Sequence[bytes], processes: int, kept: int) -> Iterator[Iterator[Pixels]]:
    """Decode the same files repeatedly in several processes.

    Args:
        files: Files of images of the same size.
        processes: The number of processes.
        kept: The number of later images after which an image may be overwritten.

    Returns:
        An endless iterator over the pixels, in no particular order. Their memory is reused, because allocating fresh
        memory takes a considerable share of the time of decoding.
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
    """Decode files until the process is killed."""
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
    """Map the shared memory, with all pages present, so that no page fault occurs during the measurement."""
    size = int(np.prod(shape))
    with (folder / "pixels").open("a+b") as file:
        os.posix_fallocate(file.fileno(), 0, size)  # an error now where there is too little of it
        memory = mmap.mmap(file.fileno(), size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    return np.frombuffer(memory, np.uint8).reshape(shape)
