"""The device and the number format of a network: chosen by measurement."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "float16", "bfloat16"]

_FORMATS = {"cpu": (torch.float32, torch.bfloat16), "cuda": (torch.float32, torch.float16, torch.bfloat16)}

_MIN_SPEEDUP = 1.2
"""The speedup that justifies a less exact format. With formats of about the same speed, workers would choose different
ones at random, and their votes on the same image would differ slightly."""

_ROUNDING = 0.1
"""The maximum difference from the float32 logits, as a share of the largest of them or of 1."""

_TRIALS = 4
_HOPELESS = 2
"""A format that is this many times slower than the fastest one after two trials is not tried again: on a CPU that
emulates the format, each trial takes a second."""

_TRIAL_PATCHES = {"cpu": 2, "cuda": 60}
"""Enough patches to tell the formats apart (with fewer, launching kernels takes a GPU longer than computing them), and
few enough for a short start of the worker."""


class DeviceError(Exception):
    """A device that does not exist, or that does not compute any more."""


@dataclass(frozen=True)
class Engine:
    """The device and the number format that a network runs with."""

    device: torch.device
    dtype: torch.dtype

    def prepare(self, module: nn.Module) -> nn.Module:
        """Move a network to the device and format, in channels-last memory, which is fastest for convolutions."""
        return module.to(self.device, self.dtype).to(memory_format=torch.channels_last)

    def __str__(self) -> str:
        """Return device and format, such as `cpu float32`."""
        return f"{self.device} {str(self.dtype).removeprefix('torch.')}"


def find(name: str) -> torch.device:
    """Find a device and check that it computes.

    Args:
        name: `auto` (a GPU if there is one), or a device in PyTorch's notation, such as `cpu` or `cuda:0`.

    Raises:
        DeviceError: If there is no such device, or it does not compute.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    except RuntimeError as error:
        raise DeviceError(f"There is no device {name!r}. Use auto, cpu, cuda or cuda:1.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"The device {name} does not exist: PyTorch finds {torch.cuda.device_count()} GPUs. Use cpu.")
    check(device)
    return device


def check(device: torch.device) -> None:
    """Check with a tiny computation that a device works.

    Raises:
        DeviceError: If it does not. After some errors, a GPU computes nothing more for the process that caused them;
            after others, it computes nothing more for any process.
    """
    try:
        torch.ones(1, device=device).add(1).item()
    except torch.OutOfMemoryError:
        return  # full, not broken
    except RuntimeError as error:
        raise DeviceError(f"The device {device} does not compute: {error}") from error


def formats(device: torch.device) -> tuple[torch.dtype, ...]:
    """Return the number formats that are tried on a device, the most exact one first."""
    return _FORMATS.get(device.type, (torch.float32,))


def choose(module: nn.Module, device: torch.device, *, precision: Precision = "auto", patch: int = 225) -> Engine:
    """Choose the number format of a network on a device.

    A device may accept a format and be slower with it, and float16 overflows in networks with large activations. So
    each format is tried on a few patches, and a less exact one is chosen only if it is clearly faster.

    Args:
        module: A network in evaluation mode, on the CPU; it is not changed.
        device: A device that `find` returned.
        precision: `auto` to measure, or the format to use.
        patch: The side of a patch, in pixels.

    Raises:
        RuntimeError: If the network does not run on the device in float32.
    """
    if precision != "auto":
        return Engine(device, getattr(torch, precision))
    engines = [Engine(device, dtype) for dtype in formats(device)]
    if len(engines) == 1:
        return engines[0]
    patches = _TRIAL_PATCHES[device.type]
    while True:
        try:
            seconds = _forward_seconds(module, engines, (patches, 3, patch, patch))
            break
        except torch.OutOfMemoryError:
            if patches == 1:
                raise
            patches //= 2
    engine = most_exact(seconds)
    logger.info(
        "engine %s (%d patches: %s)",
        engine,
        patches,
        ", ".join(f"{one} {1000 * each:.1f} ms" for one, each in seconds.items()),
    )
    return engine


def most_exact(seconds: Mapping[Engine, float]) -> Engine:
    """Return the first engine that no other one beats clearly.

    Args:
        seconds: The duration of a forward pass with each engine, the most exact one first.
    """
    enough = _MIN_SPEEDUP * min(seconds.values())
    return next(engine for engine, each in seconds.items() if each <= enough)


def _forward_seconds(
    module: nn.Module, engines: Sequence[Engine], shape: tuple[int, int, int, int]
) -> dict[Engine, float]:
    """Return the shortest duration with each engine whose logits agree with those of the first one.

    The engines take turns, so that other work on the machine slows all of them. On a CPU the processor time of this
    thread counts: while a worker starts, other processes use the cores too, and the time spent waiting for them would
    hide the differences between the formats.
    """
    exact = engines[0]
    patches = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    trials = {engine: engine.prepare(copy.deepcopy(module)) for engine in engines}
    best = dict.fromkeys(engines, math.inf)
    expected = torch.empty(0)
    on_cpu = exact.device.type == "cpu"
    now = time.thread_time if on_cpu else time.perf_counter
    with torch.inference_mode(), _one_thread() if on_cpu else nullcontext():
        for turn in range(_TRIALS):
            for engine, trial in trials.items():
                if on_cpu and turn > 1 and best[engine] > _HOPELESS * min(best.values()):
                    continue
                batch = patches.to(engine.device, engine.dtype).contiguous(memory_format=torch.channels_last)
                started = now()
                try:
                    logits = trial(batch).float().cpu()  # `cpu` waits for the GPU
                except (torch.OutOfMemoryError, torch.AcceleratorError):
                    raise
                except RuntimeError:
                    if engine == exact:
                        raise
                    continue  # the device does not support the format
                seconds = now() - started
                if engine == exact:
                    expected = logits
                if engine == exact or _agree(logits, expected):
                    best[engine] = min(best[engine], seconds)
    return {engine: seconds for engine, seconds in best.items() if seconds < math.inf}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Make PyTorch compute in this thread only, as in each thread of `classifier.engine.cores`.

    A thread that uses PyTorch for the first time inside this block keeps that setting. In a worker that does no harm,
    because the threads of `Cores` use one thread each; but `Cores` created in such a thread would have a single thread.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _agree(logits: Tensor, expected: Tensor) -> bool:
    """Return whether logits differ by rounding only; NaN and infinity do not agree with anything."""
    return bool((logits - expected).abs().max() <= _ROUNDING * expected.abs().max().clamp(min=1))
