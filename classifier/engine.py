"""Which device and which number format run a network fastest here: measured, not guessed."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16"]

_WORTH_ROUNDING = 1.2
"""How much faster bfloat16 has to be: where the two are alike, workers would choose now this, now that, and their votes
on the same image would differ a little."""

_TRIALS = 4
_TRIAL_PATCHES = 4
"""Enough to tell the formats apart, and few enough that a worker is soon at work again."""


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

    A GPU that computes in bfloat16 uses it. A CPU may accept bfloat16 and be slower with it, so there both are timed
    on a few patches, and bfloat16 is chosen where it is clearly faster.

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
    if chosen.type == "cuda":
        return Engine(chosen, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32)
    if chosen.type != "cpu":
        return Engine(chosen, torch.float32)
    seconds = _forward_seconds(module, (torch.float32, torch.bfloat16), patch)
    rounded = seconds[torch.bfloat16] * _WORTH_ROUNDING < seconds[torch.float32]
    engine = Engine(chosen, torch.bfloat16 if rounded else torch.float32)
    logger.info(
        "engine %s (%d patches: %s)",
        engine,
        _TRIAL_PATCHES,
        ", ".join(f"{str(d).removeprefix('torch.')} {s * 1000:.0f} ms" for d, s in seconds.items()),
    )
    return engine


def _forward_seconds(module: nn.Module, dtypes: Sequence[torch.dtype], patch: int) -> dict[torch.dtype, float]:
    """The shortest time of a few patches in each number format.

    The formats take turns, so that whatever else the machine does meanwhile slows all of them.
    """
    cpu = torch.device("cpu")
    trials = {dtype: Engine(cpu, dtype).prepare(copy.deepcopy(module)) for dtype in dtypes}
    patches = torch.zeros(_TRIAL_PATCHES, 3, patch, patch).contiguous(memory_format=torch.channels_last)
    best = dict.fromkeys(dtypes, float("inf"))
    with torch.inference_mode():
        for _ in range(_TRIALS):
            for dtype, trial in trials.items():
                batch = patches.to(dtype)
                started = time.perf_counter()
                try:
                    trial(batch)
                except RuntimeError:  # the processor has no such format
                    if dtype == torch.float32:
                        raise
                    continue
                best[dtype] = min(best[dtype], time.perf_counter() - started)
    return best
