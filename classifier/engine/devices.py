"""On which device and in which number format a network runs here: measured, not guessed."""

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

_WORTH_ROUNDING = 1.2
"""How much faster a less exact format has to be: where two are alike, workers would choose now this, now that, and
their votes on the same image would differ a little."""

_ROUNDING = 0.1
"""By how much logits may differ from those in float32, as a share of the largest of them or of 1."""

_TRIALS = 4
_HOPELESS = 2
"""How much slower than the fastest a format may be after two trials to be tried again: where a CPU has to do without
it, each takes a second."""

_TRIAL_PATCHES = {"cpu": 2, "cuda": 60}
"""Enough to tell the formats apart (of fewer, a GPU is told longer than it computes), and few enough that a
worker is soon at work again."""


class DeviceError(Exception):
    """A device that is not there, or that computes nothing any more."""


@dataclass(frozen=True)
class Engine:
    """Where and how a network runs."""

    device: torch.device
    dtype: torch.dtype

    def prepare(self, module: nn.Module) -> nn.Module:
        """Move a network there, in the memory layout that convolutions like."""
        return module.to(self.device, self.dtype).to(memory_format=torch.channels_last)

    def __str__(self) -> str:
        """As people read it: `cpu float32`."""
        return f"{self.device} {str(self.dtype).removeprefix('torch.')}"


def find(name: str) -> torch.device:
    """A device that is there and computes.

    Args:
        name: `auto` (a GPU where there is one), or a device in PyTorch's notation, such as `cpu` or `cuda:0`.

    Raises:
        DeviceError: If there is none.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    except RuntimeError as error:
        raise DeviceError(f"There is no device {name!r}. Use auto, cpu, cuda or cuda:1.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"The device {name} is not there: PyTorch finds {torch.cuda.device_count()} GPUs. Use cpu.")
    check(device)
    return device


def check(device: torch.device) -> None:
    """Compute something tiny.

    Raises:
        DeviceError: If the device does not: after some errors, its own or a network's, a GPU computes nothing more for
            the process that met them, after others for none.
    """
    try:
        torch.ones(1, device=device).add(1).item()
    except torch.OutOfMemoryError:
        return  # it is full, not broken
    except RuntimeError as error:
        raise DeviceError(f"The device {device} does not compute: {error}") from error


def formats(device: torch.device) -> tuple[torch.dtype, ...]:
    """The number formats that are tried on a device, the most exact one first."""
    return _FORMATS.get(device.type, (torch.float32,))


def choose(module: nn.Module, device: torch.device, *, precision: Precision = "auto", patch: int = 225) -> Engine:
    """Choose the number format of a network on a device.

    A device may accept a format and be slower with it, and float16 overflows in networks whose numbers are large. So
    each format is tried on a few patches, and a less exact one is chosen where it is clearly faster.

    Args:
        module: In evaluation mode, on the CPU; it is not changed.
        device: As `find` gives it.
        precision: `auto`, or what to use.
        patch: Side of a patch, in pixels.

    Raises:
        RuntimeError: If the network does not work there in float32.
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
    """The first engine beside which no other one is clearly faster.

    Args:
        seconds: Of each engine, the most exact one first.
    """
    enough = _WORTH_ROUNDING * min(seconds.values())
    return next(engine for engine, each in seconds.items() if each <= enough)


def _forward_seconds(
    module: nn.Module, engines: Sequence[Engine], shape: tuple[int, int, int, int]
) -> dict[Engine, float]:
    """The shortest time of a few patches with the first engine, and with each other one that says nearly the same.

    They take turns, so that whatever else the machine does meanwhile slows all of them. On a CPU what counts is how
    long it works for this thread: while a worker starts, others use the cores as well, and to wait for them costs each
    format the same, so that all of them would seem alike.
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
                    logits = trial(batch).float().cpu()  # this waits for a GPU
                except (torch.OutOfMemoryError, torch.AcceleratorError):
                    raise
                except RuntimeError:
                    if engine == exact:
                        raise
                    continue  # the device has no such format
                seconds = now() - started
                if engine == exact:
                    expected = logits
                if engine == exact or _alike(logits, expected):
                    best[engine] = min(best[engine], seconds)
    return {engine: seconds for engine, seconds in best.items() if seconds < math.inf}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have a CPU compute in this thread alone, as each of `classifier.engine.cores` does.

    PyTorch lets a thread whose first use of it falls into this keep one thread, too. In a worker the cores' own do with
    one; `Cores` that were made in such a thread would be a single core.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _alike(logits: Tensor, expected: Tensor) -> bool:
    """Whether logits differ by rounding alone; what is no number differs."""
    return bool((logits - expected).abs().max() <= _ROUNDING * expected.abs().max().clamp(min=1))
