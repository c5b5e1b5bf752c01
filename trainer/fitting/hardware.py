"""Device and number format of a training, chosen by rule, so that a machine always chooses the same."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from classifier.engine.devices import DeviceError, find

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Hardware:
    """The device and precision of trainings.

    Attributes:
        device: The device, in PyTorch's notation.
        precision: The number format of autocast; weights stay float32.
        compiled: Whether networks are compiled with `torch.compile`.
    """

    device: str
    precision: Literal["float32", "bfloat16"] = "float32"
    compiled: bool = False

    @property
    def kind(self) -> str:
        """The type of the device: `cpu` or `cuda`."""
        return torch.device(self.device).type

    def autocast(self) -> torch.autocast:
        """Return the context in which networks run."""
        return torch.autocast(self.kind, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    def describe(self) -> str:
        """Return the device's name for users."""
        if self.kind == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{_cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def choose(device: str = "auto", precision: Precision = "auto", *, compiled: bool = False) -> Hardware:
    """Choose device and precision by rule, not by timing: a resumed study must choose the same as before.

    Args:
        device: `auto` (a GPU if there is one), or a device in PyTorch's notation.
        precision: `auto` for bfloat16 if the hardware supports it, else float32; or a format.
        compiled: Compile networks with `torch.compile`.

    Raises:
        ValueError: If the device does not exist, or does not compute.
    """
    try:
        found = find(device)
    except DeviceError as error:
        raise ValueError(str(error)) from error
    if found.type not in {"cpu", "cuda"}:
        raise ValueError(f"Networks are trained on cpu or cuda, not on {found}.")
    if precision == "auto":
        supported = torch.cuda.is_bf16_supported() if found.type == "cuda" else _cpu_supports_bfloat16()
        precision = "bfloat16" if supported else "float32"
    return Hardware(str(found), precision, compiled)


def _cpu_supports_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
