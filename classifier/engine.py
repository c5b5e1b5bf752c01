"""Which device and which number format run a network fastest here: measured, not guessed."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "float16", "bfloat16"]

FORMATS = {"cpu": (torch.float32, torch.bfloat16), "cuda": (torch.float32, torch.float16, torch.bfloat16)}
"""What is tried on each kind of device, the most exact one first; float32 alone on others."""

_WORTH_ROUNDING = 1.2
"""How much faster a less exact format has to be: where two are alike, workers would choose now this, now that, and
their votes on the same image would differ a little."""

_TRIALS = 4
_TRIAL_PATCHES = {"cpu": 4, "cuda": 60}
"""Enough to tell the formats apart (of fewer, a GPU is told longer than it computes), and few enough that a
worker is soon at work again."""


class DeviceError(ValueError):
    """A device that is not there, or that computes nothing any more."""


@dataclass(frozen=True)
class Engine:
    """Where and how a network runs."""

    device: torch.device
    dtype: torch.dtype

    def prepare(self, module: nn.Module) -> nn.Module:
        """Move a network there, in the memory layout that convolutions like."""
        return module.to(self.device, self.dtype).to(memory_format=torch.channels_last)

    def check(self) -> None:
        """Compute something tiny.

        Raises:
            DeviceError: If the device does not: after some errors, its own or a network's, a GPU computes nothing more
                for the process that met them, after others for none.
        """
        try:
            torch.ones(1, device=self.device).add(1).item()
        except torch.OutOfMemoryError:
            return  # it is full, not broken
        except RuntimeError as error:
            raise DeviceError(f"The device {self.device} does not compute: {error}") from error

    def __str__(self) -> str:
        """As people read it: `cpu float32`."""
        return f"{self.device} {str(self.dtype).removeprefix('torch.')}"


def choose(module: nn.Module, *, device: str = "auto", precision: Precision = "auto", patch: int = 225) -> Engine:
    """Choose device and precision for a network.

    A device may accept a format and be slower with it, and float16 overflows in networks whose numbers are large. So
    each format is tried on a few patches, and a less exact one is chosen where it is clearly faster.

    Args:
        module: In evaluation mode, on the CPU; it is not changed.
        device: `auto`, or a device in PyTorch's notation, such as `cpu` or `cuda:0`.
        precision: `auto`, or what to use.
        patch: Side of a patch, in pixels.

    Raises:
        DeviceError: If the device is not there, or does not compute.
    """
    try:
        chosen = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    except RuntimeError as error:
        raise DeviceError(f"There is no device {device!r}. Use auto, cpu, cuda or cuda:1.") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"The device {device} is not there: PyTorch finds {torch.cuda.device_count()} GPUs. Use cpu.")
    Engine(chosen, torch.float32).check()
    if precision != "auto":
        return Engine(chosen, getattr(torch, precision))
    formats = FORMATS.get(chosen.type, (torch.float32,))
    if len(formats) == 1:
        return Engine(chosen, *formats)
    seconds = _forward_seconds(module, [Engine(chosen, dtype) for dtype in formats], patch)
    engine = most_exact(seconds)
    logger.info(
        "engine %s (%d patches: %s)",
        engine,
        _TRIAL_PATCHES[chosen.type],
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


def _forward_seconds(module: nn.Module, engines: Sequence[Engine], patch: int) -> dict[Engine, float]:
    """The shortest time of a few patches with each engine that can do it.

    They take turns, so that whatever else the machine does meanwhile slows all of them.
    """
    shape = (_TRIAL_PATCHES[engines[0].device.type], 3, patch, patch)
    patches = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    trials = {engine: engine.prepare(copy.deepcopy(module)) for engine in engines}
    best = dict.fromkeys(engines, math.inf)
    with torch.inference_mode():
        for _ in range(_TRIALS):
            for engine, trial in trials.items():
                batch = patches.to(engine.device, engine.dtype).contiguous(memory_format=torch.channels_last)
                best[engine] = min(best[engine], _seconds(trial, batch))
    return {engine: seconds for engine, seconds in best.items() if seconds < math.inf}


def _seconds(trial: nn.Module, batch: Tensor) -> float:
    """Of one forward pass; endless where the device has no such format, or the network's numbers are too large for it.

    Raises:
        RuntimeError: If it fails in float32.
    """
    started = time.perf_counter()
    try:
        numbers = trial(batch).isfinite().all().item()  # on a GPU this waits for them
    except RuntimeError:
        if batch.dtype == torch.float32:
            raise
        return math.inf
    return time.perf_counter() - started if numbers or batch.dtype == torch.float32 else math.inf
